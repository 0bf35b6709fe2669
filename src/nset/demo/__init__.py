"""What ``python -m nset demo`` runs: a modality reports a procedure step to a live server."""

from typing import Final

MPPS: Final = "1.2.840.10008.3.1.2.3.3"
"""The UID of the Modality Performed Procedure Step SOP Class (PS3.4 Annex F)."""


def keep_responses() -> None:
    """Have pynetdicom's requestors in this process lose no response, as they may on a slow machine.

    That is the one thing of `nset.pynetdicom.install` that a plain pynetdicom SCU has in the demo.
    """
    from pynetdicom.dimse import DIMSEServiceProvider

    from nset.pynetdicom import _exchange

    DIMSEServiceProvider.get_msg = _exchange.get_msg(DIMSEServiceProvider.get_msg)  # type: ignore[method-assign]
