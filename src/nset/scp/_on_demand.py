"""The objects of an association, which are made when something reads them for the first time."""

import weakref
from collections.abc import Callable
from copy import copy
from typing import Any

from pynetdicom._globals import MODE_ACCEPTOR, MODE_REQUESTOR
from pynetdicom.transport import AddressInformation

from nset.scp._a_associate import Settings
from nset.scp._checkpoint import Checkpoint
from nset.scp._connection import Connection
from nset.scp._counters import Tally
from nset.scp._dimse import DIMSEServiceProvider
from nset.scp._dispatch import Dispatcher
from nset.scp._flow_control import FlowControl
from nset.scp._memory import Memory
from nset.scp._negotiation import Acceptor, AcceptorACSE, Requestor
from nset.scp._queues import IdleTimer, Mailbox, Responses
from nset.scp._reports import Reports
from nset.scp._threadless import ThreadlessAssociation
from nset.scp._upper_layer import DULServiceProvider


class OnDemandAssociation(ThreadlessAssociation):
    """An association that has its connection, and all else on demand.

    pynetdicom's objects are ``requestor``, ``acceptor``, ``acse``, ``dul``, ``dimse``,
    ``_accepted_cx`` and ``_rejected_cx``. Whenever they are made, they are then what they would
    have been. An ordinary association needs none of them. Any thread may read any of them.

    Parameters
    ----------
    server : Server
        The server.
    path : Dispatcher
        The protocol.

    Attributes
    ----------
    connection : Connection
        The connection.
    """

    _made: frozenset[str] = frozenset()

    dul: DULServiceProvider
    dimse: DIMSEServiceProvider
    tally: Tally
    memory: Memory
    flow: FlowControl
    reports: Reports
    _reactor_checkpoint: Any

    idle_too_long: Callable[[], None]

    def __init__(self, server: Any, path: Dispatcher) -> None:
        super().__init__(server, path)
        self._threads = server.threads
        self.limits = server.limits
        self._making = path.making
        self.connection = Connection(self, path, server.threads)
        self._primitives = Mailbox()  # from the upper layer
        path.user_queue = self._primitives.queue

    def __getattr__(self, name: str) -> Any:
        group = _GROUPS.get(name)
        if group is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        with self._making:
            if name not in vars(self):
                getattr(self, f"_make_{group}")()
                self._made |= {group}
                if self._is_over:
                    self.break_cycles()
            return vars(self)[name]

    def _has_made(self, group: str) -> bool:
        """Return whether the objects of a group have been made; see `_GROUPS`."""
        return group in self._made

    @property
    def has_providers(self) -> bool:
        """Whether pynetdicom's providers have been made."""
        return self.path.has_providers

    def _make_users(self) -> None:
        accepted = self.accepted
        settings = accepted.settings if accepted is not None else Settings.of(self._server)
        requestor = Requestor(self, MODE_REQUESTOR)
        requestor.address_info = AddressInformation.from_tuple(self.address)
        acceptor = Acceptor(self, MODE_ACCEPTOR)
        settings.apply_to(acceptor)
        acceptor.address_info = self._server.local
        if accepted is not None:
            requestor.remember(accepted)
            acceptor.remember(accepted)
        vars(self).update(requestor=requestor, acceptor=acceptor)

    def _make_contexts(self) -> None:
        accepted: dict[int, Any] = {}
        rejected: list[Any] = []
        if self.accepted is not None:
            accepted = {number: _copy(cx) for number, cx in self.accepted.contexts.items()}
            rejected = [_copy(context) for context in self.accepted.rejected]
        vars(self).update(_accepted_cx=accepted, _rejected_cx=rejected)

    def _make_providers(self) -> None:
        """Make pynetdicom's providers, in the state in which they would be."""
        limits, threads, path = self.limits, self._threads, self.path
        idle_timer = IdleTimer(self._network_timeout, threads.loop, self.idle_too_long, path)
        responses = Responses()
        dul = DULServiceProvider(
            *(self, self.connection, threads, idle_timer, responses, self._primitives)
        )
        dul.artim_timer.timeout = self._acse_timeout
        dimse = DIMSEServiceProvider(
            *(self, dul, self.connection, self.flow, self.memory, threads, self.tally),
            *(responses, limits.data_set_bytes),
        )
        if self.accepted is not None and not self._is_over:
            dul.resume("Sta6" if self.is_established else "Sta13")
        elif path.is_connected and path.transport is not None:
            dul.resume("Sta2")
            dul.artim_timer.start_at(path.since)
        vars(self).update(acse=AcceptorACSE(self), dul=dul, dimse=dimse)
        path.has_providers = True
        if self._is_over:
            dul.kill_dul()
        else:
            idle_timer.start()

    def _make_tally(self) -> None:
        self.tally = Tally(self._server.counters)

    def _make_memory(self) -> None:
        self.memory = self.path.memory_on_demand()

    def _make_checkpoint(self) -> None:
        self._reactor_checkpoint = Checkpoint(self, self._threads)

    def _make_flow(self) -> None:
        self.flow = FlowControl(
            *(self.path, self.connection, self.memory, self._reactor_checkpoint),
            *(self.limits.pending_requests, self._threads),
        )

    def _make_reports(self) -> None:
        self.reports = Reports(self.flow, self._threads)

    def break_cycles(self) -> None:
        """Break reference cycles, so that the memory is freed without the garbage collector.

        Who keeps the association finds all of it still.
        """
        if not self._is_over or self.path.is_connected:
            return
        weak: Any = weakref.proxy(self)
        parts: list[Any] = [self.connection]
        if self._has_made("users"):
            self.requestor.assoc = self.acceptor.assoc = weak
        if self._has_made("checkpoint"):
            parts.append(self._reactor_checkpoint)
        if self._has_made("providers"):
            self.acse._assoc = weak
            self.dul.state_machine.dul = weakref.proxy(self.dul)
            parts += self.dul, self.dimse
            vars(self).pop("abort", None)  # pynetdicom sets it around handlers, to a method of this
        for part in parts:
            part.break_cycles(weak)
        if self._has_made("flow"):
            self.flow.break_cycles()
        self.path.discard_input()
        self.path.forget_association()


def _copy(context: Any) -> Any:
    """Copy a presentation context, with its list of transfer syntaxes."""
    new = copy(context)
    vars(new).update({k: v[:] for k, v in vars(context).items() if isinstance(v, list)})
    return new


_GROUPS = {
    "requestor": "users",
    "acceptor": "users",
    "acse": "providers",
    "dul": "providers",
    "dimse": "providers",
    "_accepted_cx": "contexts",
    "_rejected_cx": "contexts",
    "_reactor_checkpoint": "checkpoint",
    "flow": "flow",
    "memory": "memory",
    "reports": "reports",
    "tally": "tally",
}
"""What is made together, by a method for the group."""
