"""Data sets as pydicom's `Dataset`, many times as fast, and within bounds.

``import nset`` does not import it. It needs pydicom alone.
"""

import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Final

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from nset._implementation import IMPLEMENTATION
from nset.dataset._bounds import MAX_DEPTH, MAX_ELEMENTS, DataSetError, check

if TYPE_CHECKING or IMPLEMENTATION == "compiled":
    from nset.dataset import _core

__all__ = ["MAX_DEPTH", "MAX_ELEMENTS", "MAX_INFLATED_BYTES", "DataSetError", "decode", "encode"]

MAX_INFLATED_BYTES: Final = 256 * 1024 * 1024
"""The most bytes of an inflated data set, by default."""

_USUAL: Final[dict[str, tuple[bool, bool, bool]]] = {
    ImplicitVRLittleEndian: (True, True, False),
    ExplicitVRLittleEndian: (False, True, False),
}


def decode(
    data: bytes | bytearray | memoryview,
    transfer_syntax: str,
    *,
    max_inflated_bytes: int = MAX_INFLATED_BYTES,
) -> Dataset:
    """Return the data set that pydicom's own `read_dataset` would return.

    With the C extension it is an instance of a subclass of `pydicom.Dataset` that converts its
    elements in C when they are first read; pickles and copies of it are pydicom's.

    Parameters
    ----------
    data : bytes-like
        The encoded data set, without a file's preamble and File Meta Information.
    transfer_syntax : str or pydicom.uid.UID
        The UID of its transfer syntax.
    max_inflated_bytes : int, optional
        How many bytes a deflated data set may become.

    Returns
    -------
    pydicom.Dataset
        The data set.

    Raises
    ------
    DataSetError
        If its sequences are nested more than 64 deep, if it has more than a million elements, or if
        it becomes too large when inflated.
    ValueError
        If there is no such transfer syntax.
    """
    implicit, little, is_deflated = _syntax(transfer_syntax)
    encoded = bytes(data)
    if is_deflated:
        encoded = _inflated(encoded, max_inflated_bytes)
    if little and IMPLEMENTATION == "compiled":
        data_set = _core.decode(encoded, implicit)
        if data_set is not None:
            return data_set
    check(encoded, implicit, little)
    return read_dataset(BytesIO(encoded), implicit, little)


def encode(data_set: Dataset, transfer_syntax: str) -> bytes:
    """Return the bytes that pydicom's own `write_dataset` would write.

    Parameters
    ----------
    data_set : pydicom.Dataset
        The data set, made by a program or by `decode`.
    transfer_syntax : str or pydicom.uid.UID
        The UID of the transfer syntax to use.

    Returns
    -------
    bytes
        The encoded data set.

    Raises
    ------
    ValueError
        If there is no such transfer syntax. For what can't be encoded, what pydicom raises.
    """
    implicit, little, is_deflated = _syntax(transfer_syntax)
    encoded = None
    if little and IMPLEMENTATION == "compiled":
        encoded = _core.encode(data_set, implicit)
    if encoded is None:
        buffer = DicomBytesIO()
        buffer.is_implicit_VR = implicit
        buffer.is_little_endian = little
        write_dataset(buffer, data_set)
        encoded = buffer.getvalue()
    if is_deflated:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        encoded = deflater.compress(encoded) + deflater.flush()
        encoded += b"\0" * (len(encoded) % 2)  # PS3.5 A.5
    return encoded


def _syntax(transfer_syntax: str) -> tuple[bool, bool, bool]:
    """Return whether a transfer syntax has implicit VRs, is little endian, and deflated."""
    usual = _USUAL.get(transfer_syntax)
    if usual is not None:
        return usual
    uid = transfer_syntax if isinstance(transfer_syntax, UID) else UID(transfer_syntax)
    return uid.is_implicit_VR, uid.is_little_endian, uid.is_deflated


def _inflated(data: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data, limit + 1)
    if len(inflated) > limit:
        raise DataSetError(f"more than {limit} bytes when inflated", limit)
    return inflated if inflater.eof else zlib.decompress(data, -zlib.MAX_WBITS)  # which raises
