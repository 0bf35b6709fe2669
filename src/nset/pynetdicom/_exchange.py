"""Several threads send requests on one association, and each gets its own responses.

The fragments of a message are put into the DUL's queue in one step, so that no fragment of another
message (PS3.8 Annex E), no release and no abort comes between them. A response goes to the thread
whose request has its Message ID; a request goes to the association's loop.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial, wraps
from queue import Empty, Queue
from typing import Any, Final

from pynetdicom.dimse_primitives import C_FIND, C_GET, C_MOVE, C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT, A_RELEASE

from nset.pynetdicom._messages import remove_file
from nset.pynetdicom._provider import _peer, warn_of_message_id

_LOGGER = logging.getLogger("nset")

_Item = tuple[Any, Any]  # context ID and message

# Events of the service user's primitives (PS3.8 Table 9-10).
_USER_EVENTS: Final = frozenset(("Evt7", "Evt8", "Evt9", "Evt11", "Evt14", "Evt15"))

# States in which nothing more is sent.
_FINAL_STATES: Final = ("Sta1", "Sta13")

# A peer that reads nothing for this long gets no A-ABORT.
_ABORT_STALL_SECONDS: Final = 1.0

# While a program waits for responses, the loop checks this often whether the association has ended.
_POLL_SECONDS: Final = 0.05

_NONE: Final[_Item] = (None, None)


class _OutstandingRequest:
    """A request of a program that waits for one response or several."""

    __slots__ = ("_is_retrieve", "_message_id", "_service", "has_one_response")

    def __init__(self, request: Any) -> None:
        self._message_id, self._service = request.MessageID, type(request).__name__
        # The sub-operations of a C-GET arrive as C-STORE requests.
        self._is_retrieve = isinstance(request, (C_GET, C_MOVE))
        self.has_one_response = not isinstance(request, (C_FIND, C_GET, C_MOVE))

    def matches(self, message: Any) -> bool:
        """Return whether the message is for the thread that has sent the request."""
        if hasattr(message, "_nset_refusal"):
            return False
        if message.is_valid_request:
            return self._is_retrieve and isinstance(message, C_STORE)
        message_id = message.MessageIDBeingRespondedTo
        if message_id is None:  # as in stock code: the waiting thread reports an invalid response
            return getattr(message, "MessageID", None) is None
        return bool(message_id == self._message_id)

    def may_match(self, message: Any) -> bool:
        """Return whether the message is a response of the request's service, of any Message ID."""
        is_response = getattr(message, "MessageIDBeingRespondedTo", None) is not None
        return is_response and type(message).__name__ == self._service


class Messages(Queue[_Item]):
    """The messages received and not yet taken: ``DIMSEServiceProvider.msg_queue``.

    A *waiter* is a program's thread, or a generator of responses, from the moment it pauses the
    association's loop until it resumes it, as each ``send_*`` of pynetdicom's does. `wake_up` is
    called when that loop has something to do.
    """

    def __init__(self, assoc: Any, wake_up: Callable[[], None]) -> None:
        super().__init__()
        self._assoc, self._wake_up = assoc, wake_up
        self._waiters: dict[Any, list[_OutstandingRequest]] = {}  # guarded by self.mutex
        self._suspended: set[Any] = set()  # generators that no thread is in
        self._local = threading.local()
        self._has_ended = False
        self._message_ids: set[int] = set()  # of all requests of programs

    def _put(self, item: _Item) -> None:
        self.queue.append(item)
        if item[1] is None:  # how pynetdicom marks the end
            self._has_ended = True
        if self._has_ended or self._waiters:  # else any thread may take it: `put` wakes one
            self.not_empty.notify_all()
        self._wake_up()

    @property
    def has_waiters(self) -> bool:
        """Whether any thread or generator waits for responses."""
        return bool(self._waiters)

    def _waiter(self) -> Any:
        return getattr(self._local, "waiter", None) or threading.get_ident()

    def add_waiter(self) -> None:
        """Add this thread to the waiters."""
        with self.mutex:
            self._waiters.setdefault(self._waiter(), [])
        self._wake_up()

    def remove_waiter(self) -> None:
        """Remove this thread from the waiters; if it is none of them, remove all."""
        waiter = self._waiter()
        with self.mutex:
            if self._waiters.pop(waiter, None) is None and waiter == threading.get_ident():
                self._waiters.clear()
            self.not_empty.notify_all()
        self._wake_up()

    def expect_response(self, request: Any) -> None:
        """Reserve the responses to the request for this thread, if it is a waiter."""
        with self.mutex:
            outstanding = self._waiters.get(self._waiter())
            if outstanding is not None:
                outstanding.append(_OutstandingRequest(request))
                self._message_ids.add(request.MessageID)

    def wrap_responses(self, responses: Iterator[Any]) -> Iterator[Any]:
        """Return the generator as a waiter of its own, whichever thread advances it.

        It takes over the outstanding requests of this thread.
        """
        waiter = object()
        with self.mutex:
            self._waiters[waiter] = self._waiters.pop(self._waiter(), [])
        wrapped = self._iterate(responses, waiter)
        next(wrapped)  # a generator that was never started does not run its `finally`
        return wrapped

    def _iterate(self, responses: Iterator[Any], waiter: object) -> Iterator[Any]:
        try:
            self._suspended.add(waiter)
            yield None
            while True:
                outer = getattr(self._local, "waiter", None)
                self._local.waiter = waiter
                self._suspended.discard(waiter)
                try:
                    response = next(responses)
                except StopIteration:
                    return
                finally:
                    self._local.waiter = outer
                    self._suspended.add(waiter)
                yield response
        finally:
            with self.mutex:
                self._waiters.pop(waiter, None)
                self._suspended.discard(waiter)
                self.not_empty.notify_all()

    def take(self, timeout: float | None) -> _Item:
        """Wait for a response to a request of this thread, or if it has none for any message."""
        end = None if timeout is None else time.monotonic() + timeout
        waiter = self._waiter()
        with self.mutex:
            while True:
                outstanding = self._waiters.get(waiter)
                is_wanted = partial(_settle, outstanding) if outstanding else self._is_unclaimed
                found = self._pick(is_wanted) or self._pick_misnumbered(outstanding)
                if found is not None:
                    return found
                if self._has_ended or self._assoc._kill or self._assoc._sent_abort:
                    return _NONE
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return _NONE
                self.not_empty.wait(left)

    def _pick(self, is_wanted: Callable[[Any], bool]) -> _Item | None:
        item: _Item
        for index, item in enumerate(self.queue):
            if item[1] is not None and is_wanted(item[1]):
                del self.queue[index]
                return item
        return None

    def _pick_misnumbered(self, outstanding: list[_OutstandingRequest] | None) -> _Item | None:
        """Take a response with a Message ID that no request has had, where but one can be meant.

        Stock code looks at no Message ID, so there are peers that get by with a wrong one.
        """
        if not outstanding or sum(map(len, self._waiters.values())) != 1:
            return None
        (request,) = outstanding

        def is_meant(message: Any) -> bool:
            is_known = getattr(message, "MessageIDBeingRespondedTo", None) in self._message_ids
            return request.may_match(message) and not is_known

        found = self._pick(is_meant)
        if found is not None:
            if request.has_one_response:
                outstanding.remove(request)
            warn_of_message_id(_peer(self._assoc), found[1].MessageIDBeingRespondedTo)
        return found

    def _is_unclaimed(self, message: Any) -> bool:
        return not self._waiters or not any(
            request.matches(message)
            for outstanding in self._waiters.values()
            for request in outstanding
        )

    def _is_for_loop(self, message: Any) -> bool:
        return _is_request(message) and self._is_unclaimed(message)

    def take_unclaimed(self) -> _Item:
        """Return the next message that answers no outstanding request, or `_NONE`."""
        if not self.queue:
            return _NONE
        with self.mutex:
            if not self._waiters and self.queue and self.queue[0][1] is not None:
                item: _Item = self.queue.popleft()
                return item
            return self._pick(self._is_unclaimed) or _NONE

    def count_requests(self) -> int:
        """Return how many requests wait for the association's loop."""
        with self.mutex:
            return sum(message is not None and _is_request(message) for _, message in self.queue)

    def wait_for_request(self) -> _Item | None:
        """Wait for a request while there are waiters; return None without any, or at the end."""
        if not self._waiters:
            return None
        with self.mutex:
            while self._waiters:
                found = self._pick(self._is_for_loop)
                if found is not None:
                    return found
                if self._is_at_end():
                    break
                self.not_empty.wait(_POLL_SECONDS)
        return None

    def _is_at_end(self) -> bool:
        """Return whether the association ends and no waiting thread will process that."""
        assoc = self._assoc
        if assoc._kill:
            return True
        if not self._waiters.keys() <= self._suspended:
            return False
        next_primitive = assoc.dul.peek_next_pdu()
        return assoc._sent_abort or isinstance(next_primitive, (A_ABORT, A_P_ABORT, A_RELEASE))


def _settle(outstanding: list[_OutstandingRequest], message: Any) -> bool:
    """Return whether the message answers one of the requests; remove one with a single response."""
    for request in outstanding:
        if request.matches(message):
            if request.has_one_response:
                outstanding.remove(request)
            return True
    return False


def _is_request(message: Any) -> bool:
    """Return whether a message is a request, even if it can only be refused."""
    is_numbered = getattr(message, "MessageID", None) is not None
    return (
        hasattr(message, "_nset_refusal")
        or message.is_valid_request
        or (is_numbered and message.MessageIDBeingRespondedTo is None)
    )


class Checkpoint:
    """Where the association's loop pauses while a program waits; replaces a `threading.Event`.

    A paused loop processes no timeout. It processes a release or an abort only if all waiters are
    suspended generators. It serves requests all the same: two threads that wait in turns would
    otherwise never let it run. The association's queue is a `Messages`.
    """

    def __init__(self, assoc: Any) -> None:
        self._assoc, self._messages = assoc, assoc.dimse.msg_queue

    def is_set(self) -> bool:
        """Return whether the loop may run."""
        return not self._messages.has_waiters

    def clear(self) -> None:
        """Pause the loop at the checkpoint, for this thread."""
        self._messages.add_waiter()

    def set(self) -> None:
        """Let the loop run, unless other threads still wait."""
        self._messages.remove_waiter()

    def wait(self) -> None:
        """Pause, and serve requests meanwhile; in the association's thread."""
        while (found := self._messages.wait_for_request()) is not None:
            context_id, request = found
            self._assoc._serve_request(request, context_id)
            self._assoc._is_paused = True


class IsPaused:
    """``Association._is_paused``, which only the association's own thread can set to False.

    The threads that serve N-EVENT-REPORTs do so too when they have finished, and a thread that
    waits for the loop to pause would then wait for ever. Without a ``__get__``, reading it reads
    the instance's ``__dict__``.
    """

    def __set__(self, assoc: Any, value: bool) -> None:
        values = assoc.__dict__
        if value or "_is_paused" not in values or threading.get_ident() == assoc.ident:
            values["_is_paused"] = value


def get_msg(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Make ``DIMSEServiceProvider.get_msg`` return to each thread its own responses."""

    @wraps(stock)
    def get_msg(self: Any, block: bool = False) -> Any:
        messages = self.msg_queue
        if isinstance(messages, Messages):
            return messages.take(self.dimse_timeout) if block else messages.take_unclaimed()
        # An association from before the installation. Its loop never blocks, and clears
        # `_is_paused` before it looks here: if it is scheduled late it would take the program's
        # response for a request, and drop it.
        if not block and not self.assoc._reactor_checkpoint.is_set():
            return _NONE
        return stock(self, block)

    return get_msg


def keep_waiting(stock: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Make each generator of responses a waiter, whichever thread advances it."""

    @wraps(stock)
    def wrap_responses(self: Any, *args: Any) -> Iterator[Any]:
        messages = self.dimse.msg_queue
        responses = stock(self, *args)
        return messages.wrap_responses(responses) if isinstance(messages, Messages) else responses

    return wrap_responses


class _Outgoing:
    """Stands in for a DIMSE provider and its DUL, and collects the primitives that it sends."""

    def __init__(self, dimse: Any) -> None:
        self._dimse, self.assoc, self.dul = dimse, dimse.assoc, self
        self.primitives: list[Any] = []
        self.send_pdu = self.primitives.append

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dimse, name)


def send_msg(stock: Callable[[Any, Any, int], None]) -> Callable[[Any, Any, int], None]:
    """Make ``DIMSEServiceProvider.send_msg`` queue the fragments of a message in one step."""

    @wraps(stock)
    def send_msg(self: Any, primitive: Any, context_id: int) -> None:
        dul, messages = self.dul, self.msg_queue
        if type(dul).send_pdu is not DULServiceProvider.send_pdu:  # overridden: call it
            stock(self, primitive, context_id)
            return
        outgoing = _Outgoing(self)
        stock(outgoing, primitive, context_id)
        if isinstance(messages, Messages) and primitive.MessageIDBeingRespondedTo is None:
            messages.expect_response(primitive)
        with dul.to_provider_queue.mutex:
            dul.to_provider_queue.queue.extend(outgoing.primitives)
        send_queued = vars(dul).get("_nset_send_queued")
        if send_queued is not None:
            send_queued()

    return send_msg


def do_action(stock: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
    """Make ``StateMachine.do_action`` discard primitives that the state no longer allows.

    Otherwise the DUL's thread ends with a traceback, perhaps without closing the connection.
    """

    @wraps(stock)
    def do_action(self: Any, event: str) -> None:
        if event in _USER_EVENTS and (event, self.current_state) not in TRANSITION_TABLE:
            # The DUL's loop adds the event in each iteration until the primitive is taken.
            with suppress(Empty):
                primitive = self.dul.to_provider_queue.get(False)
                _LOGGER.debug("%s not sent in %s", type(primitive).__name__, self.current_state)
        else:
            stock(self, event)

    return do_action


def make_target(stock: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Count the threads that serve N-EVENT-REPORTs concurrently with the association's loop."""

    @wraps(stock)
    def make_target(serve_request: Any) -> Any:
        target = stock(serve_request)
        concurrent = vars(serve_request.__self__).setdefault("_nset_concurrent", [])
        concurrent.append(None)

        def serve_concurrently(*args: Any) -> None:
            try:
                target(*args)
            finally:
                concurrent.pop()

        return serve_concurrently

    return make_target


def is_release_requested(stock: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Make ``ACSE.is_release_requested`` serve earlier requests before it returns True."""

    @wraps(stock)
    def is_release_requested(self: Any) -> bool:
        assoc = self.assoc
        if not assoc.dul.to_user_queue.queue:  # as in nearly every iteration of the loop
            return False
        if not isinstance(assoc.dul.peek_next_pdu(), A_RELEASE):
            return stock(self)
        message = True
        while assoc.is_established and message:
            context_id, message = assoc.dimse.get_msg(block=False)
            if message:
                assoc._serve_request(message, context_id)
        is_served = assoc.is_established and not vars(assoc).get("_nset_concurrent")
        return is_served and stock(self)

    return is_release_requested


def wrap_handler(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Make ``ServiceClass._wrap_handler`` go on when the peer has requested a release.

    Stock code ends the responses there, with Success, and forgets the A-RELEASE-RQ.
    """

    @wraps(stock)
    def _wrap_handler(self: Any, handler: Iterator[Any]) -> Iterator[Any]:
        try:
            for result in handler:
                if self.assoc.acse.is_aborted():
                    return
                yield result, None
        except Exception:
            yield None, sys.exc_info()

    return _wrap_handler


def send_c_store(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Make ``Association.send_c_store`` fail at once if the peer can send no response."""

    @wraps(stock)
    def send_c_store(self: Any, *args: Any, **options: Any) -> Any:
        refuse_after_release(self)
        return stock(self, *args, **options)

    return send_c_store


def refuse_after_release(assoc: Any) -> None:
    """Raise an exception if an acceptor's peer has requested a release (PS3.8 Section 7.2.2)."""
    if assoc.is_acceptor and isinstance(assoc.dul.peek_next_pdu(), A_RELEASE):
        raise RuntimeError("The peer has requested the release, and sends no more responses")


def run_reactor(stock: Callable[[Any], None]) -> Callable[[Any], None]:
    """Send an A-ABORT before the socket is closed, and log how many requests were not served."""

    @wraps(stock)
    def _run_reactor(self: Any) -> None:
        try:
            stock(self)
        finally:
            self._is_paused = True  # for good: a thread that begins to wait waits for this
        messages = self.dimse.msg_queue
        left = messages.count_requests() if isinstance(messages, Messages) else 0
        if left:
            _LOGGER.warning(
                "The association with %s ended with %d requests unserved", _peer(self), left
            )
        if self._sent_abort:
            _wait_until_sent(self.dul)
        for message in (self.dimse.message, *(message for _, message in list(messages.queue))):
            remove_file(message)

    return _run_reactor


def _wait_until_sent(dul: Any) -> None:
    """Wait until the A-ABORT and everything before it are sent, while the peer reads."""
    left, end = -1, 0.0
    while dul.is_alive() and dul.state_machine.current_state not in _FINAL_STATES:
        if len(dul.to_provider_queue.queue) != left:
            left = len(dul.to_provider_queue.queue)
            end = time.monotonic() + _ABORT_STALL_SECONDS
        elif time.monotonic() > end:
            return
        time.sleep(0.01)
