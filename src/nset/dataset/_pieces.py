"""Encoded elements of a data set, to be put together with others without decoding them."""

from typing import TYPE_CHECKING, Final

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from nset._implementation import IMPLEMENTATION

if TYPE_CHECKING or IMPLEMENTATION == "compiled":
    from nset.dataset import _core

_IS_IMPLICIT: Final[dict[str, bool]] = {ImplicitVRLittleEndian: True, ExplicitVRLittleEndian: False}


def split(data: bytes, transfer_syntax: str) -> dict[int, bytes] | None:
    """Return the encoded elements of a data set.

    Parameters
    ----------
    data : bytes
        The encoded data set.
    transfer_syntax : str or pydicom.uid.UID
        The UID of its transfer syntax.

    Returns
    -------
    dict of int to bytes, or None
        Its elements by their tags, in ascending order, each with its header; a sequence has all of
        its items. None where the elements, one behind the other, might not
        be what `nset.dataset.encode` makes of the decoded data set, and without the C extension.
    """
    implicit = _IS_IMPLICIT.get(transfer_syntax)
    if implicit is None or IMPLEMENTATION != "compiled":
        return None
    return _core.split(data, implicit)
