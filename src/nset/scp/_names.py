"""Names of peers in the log."""

from nset.logs import address_name

__all__ = ["address_name"]
