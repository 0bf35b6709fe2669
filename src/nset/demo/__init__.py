"""What ``python -m nset demo`` runs: a modality reports a procedure step to a live server."""

from typing import Final

MPPS: Final = "1.2.840.10008.3.1.2.3.3"
"""The UID of the Modality Performed Procedure Step SOP Class (PS3.4 Annex F)."""
