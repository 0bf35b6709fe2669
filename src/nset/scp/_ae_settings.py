"""The settings of an AE that each connection reads, examined when one has changed."""

from typing import Any, NamedTuple

from pynetdicom.ae import ApplicationEntity

from nset.scp._limits import Limits


class AESettings(NamedTuple):
    """The settings of an AE at a time, and what follows from them and a server's limits."""

    acse_timeout: float | None
    connection_timeout: float | None
    dimse_timeout: float | None
    network_timeout: float | None
    """Seconds, or None for none."""
    maximum_associations: int
    maximum_connections: int
    pdu_length: int
    """The limit of a P-DATA-TF PDU, in bytes."""
    first_pdu_timeout: float
    """Seconds until the first PDU must be complete."""
    is_short_of_time: bool
    """Whether the network timeout may expire before that."""

    @classmethod
    def of(cls, ae: ApplicationEntity, limits: Limits) -> "AESettings":
        """Return those of an AE at this time."""
        first_pdu_timeout = limits.first_pdu_timeout
        if ae.acse_timeout is not None:
            first_pdu_timeout = min(first_pdu_timeout, ae.acse_timeout)
        network_timeout = ae.network_timeout
        return cls(
            ae.acse_timeout,
            ae.connection_timeout,
            ae.dimse_timeout,
            network_timeout,
            ae.maximum_associations,
            limits.connections_for(ae.maximum_associations),
            limits.pdu_length_for(ae.maximum_pdu_size),
            max(first_pdu_timeout, 0),
            network_timeout is not None and network_timeout < limits.first_pdu_timeout,
        )


class KnownSettings:
    """The settings of a server's AE, read again when an attribute of the AE has changed.

    Call it for the `AESettings`, which are the same object until one has. In the loop's thread.

    Parameters
    ----------
    ae : pynetdicom.ae.ApplicationEntity
        The AE.
    limits : Limits
        The server's.

    Attributes
    ----------
    current : AESettings
        The settings, if `is_stock` and the `attributes` of the AE are its `values`.
    """

    def __init__(self, ae: ApplicationEntity, limits: Limits) -> None:
        self._ae = ae
        self._limits = limits
        self.attributes = vars(ae)
        self.values: dict[str, Any] = {}
        self.current: AESettings
        # A subclass may have properties that depend on other things.
        self.is_stock = type(ae) is ApplicationEntity

    def __call__(self) -> AESettings:
        """Return the settings."""
        if self.values != self.attributes or not self.is_stock:
            self.values = copied(self.attributes)
            self.current = AESettings.of(self._ae, self._limits)
        return self.current


def copied(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of an object's attributes, with copies of lists."""
    return {
        name: value[:] if isinstance(value, list) else value
        for name, value in list(attributes.items())
    }
