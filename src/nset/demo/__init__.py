"""``python -m nset demo``: a modality reports a procedure step to a live server."""

from nset._rules import MPPS as MPPS


def keep_responses() -> None:
    """Keep pynetdicom's requestors in this process from losing responses on a slow machine.

    It is the only part of `nset.pynetdicom.install` that the demo's plain pynetdicom SCU uses.
    """
    from pynetdicom.dimse import DIMSEServiceProvider

    from nset.pynetdicom import _exchange

    DIMSEServiceProvider.get_msg = _exchange.get_msg(DIMSEServiceProvider.get_msg)  # type: ignore[method-assign]
