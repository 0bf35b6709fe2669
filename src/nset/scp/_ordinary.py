"""An ordinary association, from its A-ASSOCIATE-RQ to its A-RELEASE-RP."""

import logging
import time
from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any

from nset import _pdu
from nset.scp import _log
from nset.scp._handlers import messages_are_logged
from nset.scp._on_demand import OnDemandAssociation

_LOGGER = logging.getLogger("pynetdicom.association")
_ACSE_LOGGER = logging.getLogger("pynetdicom.acse")

_RELEASE_RP = bytes((_pdu.RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0))


class OrdinaryAssociation(OnDemandAssociation):
    """An association that is established and released without pynetdicom's objects, if it can be.

    In the loop's thread.
    """

    _was_requested = False
    _timer: TimerHandle | None = None

    is_working: Callable[[], bool]

    def is_observed(self) -> bool:
        """Return whether a program, or the log at DEBUG, observes PDUs or messages."""
        return self._bindings.observes_messages or messages_are_logged(logging.DEBUG)

    def _process_ordinary(self, pdu: bytes) -> bool:
        """Establish or release an ordinary association, without pynetdicom's objects.

        Returns
        -------
        bool
            False, with nothing done, if pynetdicom has to do it, or a program or a log observes it.
        """
        if self.bindings.has_callbacks or self.is_observed():
            return False
        with self._making:
            if self.has_providers:
                return False
            if pdu[0] == _pdu.ASSOCIATE_RQ:
                return not self._was_requested and self._accept(pdu)
            return pdu[0] == _pdu.RELEASE_RQ and self._release_if_quiet()

    def _accept(self, request: bytes) -> bool:
        server, path = self._server, self.path
        accepted = server.negotiations.accept(request) if server.accepts_more() else None
        if accepted is None:
            return False
        self.accepted = accepted
        self._was_requested = self.is_established = True
        path.contexts, path.peer_length = accepted.contexts, accepted.peer_length
        path.in_data_transfer = path.decodes_requests = True
        _ACSE_LOGGER.info("Accepting Association")
        self.connection.send(accepted.answer)
        server.counters.count("associations")
        _log.accepted(self)
        timeout = self._network_timeout
        if timeout is not None and timeout < self.limits.first_pdu_timeout:
            self.check_idle()  # else when the time for the first PDU would have been over
        return True

    def _release_if_quiet(self) -> bool:
        path = self.path
        if not self.is_established or path.is_ending or path.progress() or self.is_working():
            return False
        path.in_data_transfer = path.decodes_requests = self.is_established = False
        self.is_released = self._sent_release = self._kill = path.is_ending = True
        self.connection.stop_messages(aborts=False)
        self.connection.send(_RELEASE_RP)
        _LOGGER.info("Association Released")
        self.connection.finish()
        return True

    # -- Timers ------------------------------------------------------------------------------------

    def call_later(self, seconds: float, function: Callable[[Any], None]) -> None:
        """Call a function of the association after some seconds, in place of the last such one."""
        self.cancel_timer()
        self._timer = self._threads.loop.call_later(seconds, self._timer_expired, function)

    def _timer_expired(self, function: Callable[[Any], None]) -> None:
        self._timer = None
        function(self)

    def cancel_timer(self) -> None:
        """Call no function later."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def artim_expired(self) -> None:
        """Process the end of the time for an A-ASSOCIATE-RQ (PS3.8 Section 9.1.5)."""
        if self.connection.has_begun and not self.has_providers:  # which have their own timer
            self.dul.artim_expired()

    def check_idle(self) -> None:
        """Check the network timeout, now and when it may expire; the upper layer has its own."""
        timeout, loop = self._network_timeout, self._threads.loop
        if timeout is None or self.has_providers or self._is_over:
            return
        left = self.path.last_received + timeout - time.monotonic()
        if left <= 0:
            self.idle_too_long()
        elif self._timer is None or self._timer.when() > loop.time() + left:
            self.call_later(left, OrdinaryAssociation.check_idle)
