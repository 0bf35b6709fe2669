"""N-EVENT-REPORT to subscribers of MPPS Notification (PS3.4 F.9): what waits for them is stored."""

import logging
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from pynetdicom import AE

from nset.mpps.addresses import host_and_port
from nset.mpps.reporting import Association
from nset.mpps.store import Conflict, Notification, Store, Unavailable

_LOGGER = logging.getLogger("nset.mpps")

MPPS_NOTIFICATION = "1.2.840.10008.3.1.2.3.5"

_LOOK_SECONDS = 10.0  # until what a process that has ended has left behind is seen
_AGAIN_SECONDS = (1.0, 60.0)  # after a failure: the first time, and at most
_BATCH_SECONDS = 10.0  # of one association
_CLAIM = timedelta(seconds=90)  # longer than all of it takes; then another process may send
_ENDING_SECONDS = 2.0  # for an answer that is awaited as the server ends
_ENDED_SECONDS = 1.0  # for the thread, once that is over
_KEPT = timedelta(days=7)


class Subscriber(NamedTuple):
    """Who is notified: its name in the store, AE title and address."""

    name: str
    ae_title: str
    host: str
    port: int


def subscriber(text: str) -> Subscriber:
    """Return the subscriber of a text.

    Parameters
    ----------
    text : str
        TITLE@HOST:PORT; brackets around an IPv6 address.

    Returns
    -------
    Subscriber
        The subscriber.

    Raises
    ------
    ValueError
        If it is none.
    """
    title, _, address = text.rpartition("@")
    try:
        host, port = host_and_port(address)
        AE(title)  # which checks it
        host.encode("idna")  # as a connection does
        if not (title.strip() and host and port):
            raise ValueError
    except ValueError as exc:
        raise ValueError(f"a subscriber is TITLE@HOST:PORT, and not {text!r}") from exc
    return Subscriber(text, title, host, port)


class Notifier:
    """Sends a subscriber what waits for it, in a thread of its own; another process may send, too.

    Parameters
    ----------
    store : Store
        Where it waits; it belongs to the notifier's thread.
    to : Subscriber
        The subscriber.
    ae_title : str
        The AE title of the server.
    """

    def __init__(self, store: Store, to: Subscriber, ae_title: str) -> None:
        self.subscriber = to.name
        self._store = store
        self._to = to
        self._ae_title = ae_title
        self._association: Association | None = None
        self._news, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"nset-mpps-notifier-{to.name}", daemon=True
        )
        self._thread.start()

    def wake(self) -> None:
        """Start sending: new notifications are in the store. Any thread may call it."""
        self._news.set()

    def end(self) -> None:
        """Have the thread end, after the report that is being sent; what waits is in the store."""
        self._ending.set()
        self._news.set()

    def join(self) -> None:
        """Wait for its end: for seconds, and not as long as a peer that is silent can delay it."""
        self._thread.join(_ENDING_SECONDS)
        association = self._association
        if self._thread.is_alive() and association is not None:
            association.interrupt()
            self._thread.join(_ENDED_SECONDS)

    def _run(self) -> None:
        first, longest = _AGAIN_SECONDS
        delay = first
        while not self._ending.is_set():
            self._news.clear()
            try:
                is_rest = self._send()
            except Exception as exc:
                if self._ending.is_set():
                    break
                _LOGGER.warning(
                    *("%s is not notified, once more in %.0f s: %s", self.subscriber, delay, exc),
                    exc_info=not isinstance(exc, OSError | Unavailable | Conflict),
                )
                self._ending.wait(delay)
                delay = min(2 * delay, longest)
                continue
            if is_rest:
                delay = first
            else:
                self._news.wait(_LOOK_SECONDS)
        self._store.close()

    def _send(self) -> bool:
        """Send what waits, if no other process does; return whether there may be more."""
        if not self._store.waiting(self.subscriber):
            return False
        now = datetime.now(timezone.utc)
        until = (now + _CLAIM).isoformat(timespec="microseconds")
        if not self._store.claim(self.subscriber, now.isoformat(timespec="microseconds"), until):
            return False
        sent: list[Notification] = []
        try:
            oldest = (now - _KEPT).isoformat(timespec="microseconds")
            dropped = self._store.drop(self.subscriber, oldest)
            if dropped:
                _LOGGER.error("%d notifications to %s are given up", dropped, self.subscriber)
            waiting = self._store.waiting(self.subscriber)
            if waiting:
                self._report(waiting, sent)
        finally:
            self._store.release(self.subscriber, until, sent)
        return True

    def _report(self, waiting: list[Notification], sent: list[Notification]) -> None:
        """Send reports in one association, and add those that are answered to `sent`."""
        _, title, host, port = self._to
        association = Association((host, port), self._ae_title, title, MPPS_NOTIFICATION)
        self._association = association
        with association:
            end = time.monotonic() + _BATCH_SECONDS
            for number, item in enumerate(waiting, 1):
                if self._ending.is_set() or time.monotonic() > end:
                    break
                status = association.report(number, item.event_type, item.uid)
                if status:
                    _LOGGER.warning(
                        "%s answers the notification of %s with %04XH",
                        *(self.subscriber, item.uid, status),
                    )
                sent.append(item)
