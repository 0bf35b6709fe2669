"""The timers of an association that has no upper layer."""

import time
from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any

from nset.scp._on_demand import OnDemandAssociation


class TimedAssociation(OnDemandAssociation):
    """An association with timers that do without pynetdicom's objects; in the loop's thread."""

    _timer: TimerHandle | None = None

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
        if self.path.transport is not None and not self.has_providers:  # which have their own timer
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
            self.call_later(left, TimedAssociation.check_idle)
