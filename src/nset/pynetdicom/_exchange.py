"""Several threads send and receive by one association, and no message is mixed up or lost.

What a message is cut into goes into the DUL's queue in one go, so that no fragment of another
message comes between (PS3.8 Annex E), nor a release or an abort. A response goes to the thread
that has asked, by its Message ID; a request goes to the association's loop.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial, wraps
from queue import Queue
from typing import Any, Final

from pynetdicom.dimse_primitives import C_FIND, C_GET, C_MOVE, C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT, A_RELEASE

from nset.pynetdicom._messages import remove_file
from nset.pynetdicom._provider import _peer

_LOGGER = logging.getLogger("nset")

_Item = tuple[Any, Any]  # context ID and message

# What a program asks the upper layer for (PS3.8 Table 9-10).
_REQUESTS: Final = frozenset(("Evt7", "Evt8", "Evt9", "Evt11", "Evt14", "Evt15"))

# Its states once there is nothing more to send.
_OVER: Final = ("Sta1", "Sta13")

# Seconds in which a peer has taken nothing, and is not waited for any longer.
_STALLED: Final = 1.0

# Seconds after which the loop looks up, while anybody asks, whether the association is at its end.
_LOOK_UP: Final = 0.05

_NONE: Final[_Item] = (None, None)


class _Question:
    """A request that waits for its response, or for several."""

    __slots__ = ("_message_id", "_takes_stores", "has_one_answer")

    def __init__(self, request: Any) -> None:
        self._message_id = request.MessageID
        # The sub-operations of a C-GET come as requests.
        self._takes_stores = isinstance(request, (C_GET, C_MOVE))
        self.has_one_answer = not isinstance(request, (C_FIND, C_GET, C_MOVE))

    def takes(self, message: Any) -> bool:
        """Tell whether the message is for whoever has asked."""
        if hasattr(message, "_nset_refusal"):
            return False
        if message.is_valid_request:
            return self._takes_stores and isinstance(message, C_STORE)
        message_id = message.MessageIDBeingRespondedTo
        if message_id is None:  # as stock: who waits says that a response is invalid
            return getattr(message, "MessageID", None) is None
        return bool(message_id == self._message_id)


class Messages(Queue[_Item]):
    """The messages that have come and that nobody has taken: ``DIMSEServiceProvider.msg_queue``.

    A thread *asks* from the moment it pauses the association's loop until it lets it go on, as
    each ``send_*`` of pynetdicom's does.

    Parameters
    ----------
    assoc : pynetdicom Association
        Whose messages they are.
    ring : callable
        Called where its loop has something to look at.
    """

    def __init__(self, assoc: Any, ring: Callable[[], None]) -> None:
        super().__init__()
        self._assoc, self._ring = assoc, ring
        self._askers: dict[Any, list[_Question]] = {}  # guarded by self.mutex
        self._idle: set[Any] = set()  # generators in which nobody waits for the next response
        self._local = threading.local()
        self._has_ended = False

    def _put(self, item: _Item) -> None:
        self.queue.append(item)
        if item[1] is None:  # pynetdicom's word for the end
            self._has_ended = True
        if self._has_ended or self._askers:  # else anyone who waits may have it: `put` wakes one
            self.not_empty.notify_all()
        self._ring()

    @property
    def is_asking(self) -> bool:
        """Whether any thread asks."""
        return bool(self._askers)

    def _asker(self) -> Any:
        return getattr(self._local, "asker", None) or threading.get_ident()

    def begin_asking(self) -> None:
        """Note that this thread asks."""
        with self.mutex:
            self._askers.setdefault(self._asker(), [])
        self._ring()

    def stop_asking(self) -> None:
        """Note that this thread asks no more; called by any other one, that nobody does."""
        asker = self._asker()
        with self.mutex:
            if self._askers.pop(asker, None) is None and asker == threading.get_ident():
                self._askers.clear()
            self.not_empty.notify_all()
        self._ring()

    def ask(self, request: Any) -> None:
        """Keep the responses to the request for this thread, if it asks."""
        with self.mutex:
            questions = self._askers.get(self._asker())
            if questions is not None:
                questions.append(_Question(request))

    def keep_asking(self, responses: Iterator[Any]) -> Iterator[Any]:
        """Have the iterator go on asking for this thread, in whatever thread it is used."""
        asker = object()
        with self.mutex:
            self._askers[asker] = self._askers.pop(self._asker(), [])
        each = self._each(responses, asker)
        next(each)  # one that has not begun would not say when it is dropped
        return each

    def _each(self, responses: Iterator[Any], asker: object) -> Iterator[Any]:
        try:
            self._idle.add(asker)
            yield None
            while True:
                outer = getattr(self._local, "asker", None)
                self._local.asker = asker
                self._idle.discard(asker)
                try:
                    response = next(responses)
                except StopIteration:
                    return
                finally:
                    self._local.asker = outer
                    self._idle.add(asker)
                yield response
        finally:
            with self.mutex:
                self._askers.pop(asker, None)
                self._idle.discard(asker)
                self.not_empty.notify_all()

    def take(self, timeout: float | None) -> _Item:
        """Wait for a response to what this thread has asked, or else for any message."""
        end = None if timeout is None else time.monotonic() + timeout
        asker = self._asker()
        with self.mutex:
            while True:
                questions = self._askers.get(asker)
                found = self._pick(partial(_take, questions) if questions else self._is_unasked)
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
        for at, item in enumerate(self.queue):
            if item[1] is not None and is_wanted(item[1]):
                del self.queue[at]
                return item
        return None

    def _is_unasked(self, message: Any) -> bool:
        return not self._askers or not any(
            question.takes(message) for questions in self._askers.values() for question in questions
        )

    def _is_for_loop(self, message: Any) -> bool:
        return _is_request(message) and self._is_unasked(message)

    def take_unasked(self) -> _Item:
        """Give the next message that nobody has asked for, if there is one."""
        if not self.queue:
            return _NONE
        with self.mutex:
            if not self._askers and self.queue and self.queue[0][1] is not None:
                item: _Item = self.queue.popleft()
                return item
            return self._pick(self._is_unasked) or _NONE

    def count_requests(self) -> int:
        """Count the requests that wait for the association's loop."""
        with self.mutex:
            return sum(message is not None and _is_request(message) for _, message in self.queue)

    def wait_for_request(self) -> _Item | None:
        """Wait for a request while anybody asks; None where nobody does, or the end has come."""
        if not self._askers:
            return None
        with self.mutex:
            while self._askers:
                found = self._pick(self._is_for_loop)
                if found is not None:
                    return found
                if self._is_at_end():
                    break
                self.not_empty.wait(_LOOK_UP)
        return None

    def _is_at_end(self) -> bool:
        """Tell whether there is an end for the loop to take, and no thread that waits for it."""
        assoc = self._assoc
        if assoc._kill:
            return True
        if not self._askers.keys() <= self._idle:
            return False
        next_primitive = assoc.dul.peek_next_pdu()
        return assoc._sent_abort or isinstance(next_primitive, (A_ABORT, A_P_ABORT, A_RELEASE))


def _take(questions: list[_Question], message: Any) -> bool:
    """Give whether the message answers one of the questions, which is done then."""
    for question in questions:
        if question.takes(message):
            if question.has_one_answer:
                questions.remove(question)
            return True
    return False


def _is_request(message: Any) -> bool:
    """Whether a message is a request, be it one that can only be refused."""
    is_numbered = getattr(message, "MessageID", None) is not None
    return (
        hasattr(message, "_nset_refusal")
        or message.is_valid_request
        or (is_numbered and message.MessageIDBeingRespondedTo is None)
    )


class Checkpoint:
    """Where the association's loop stops while a program asks; stands in for a `threading.Event`.

    The loop takes no timeout then, nor a release or an abort unless all that asks are generators
    that nobody waits in; and it goes on serving requests: two threads that ask by turns would else
    leave it no time to.

    Parameters
    ----------
    assoc : pynetdicom Association
        Whose loop it is, and whose queue is a `Messages`.
    """

    def __init__(self, assoc: Any) -> None:
        self._assoc, self._messages = assoc, assoc.dimse.msg_queue

    def is_set(self) -> bool:
        """Tell whether the loop may go on."""
        return not self._messages.is_asking

    def clear(self) -> None:
        """Stop the loop when it comes here."""
        self._messages.begin_asking()

    def set(self) -> None:
        """Let the loop go on, once nobody asks any more."""
        self._messages.stop_asking()

    def wait(self) -> None:
        """Stop here, and serve requests meanwhile; in the association's thread."""
        while (found := self._messages.wait_for_request()) is not None:
            context_id, request = found
            self._assoc._serve_request(request, context_id)
            self._assoc._is_paused = True


class IsPaused:
    """``Association._is_paused``, of which only its own thread can say that it is not so.

    The threads that serve N-EVENT-REPORTs say so when they have done; who waits for the loop to
    pause would wait for ever. It is read where any attribute is kept: there is no ``__get__``.
    """

    def __set__(self, assoc: Any, value: bool) -> None:
        values = assoc.__dict__
        if value or "_is_paused" not in values or threading.get_ident() == assoc.ident:
            values["_is_paused"] = value


def get_msg(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Make ``DIMSEServiceProvider.get_msg`` give each thread what is meant for it."""

    @wraps(stock)
    def get_msg(self: Any, block: bool = False) -> Any:
        messages = self.msg_queue
        if isinstance(messages, Messages):
            return messages.take(self.dimse_timeout) if block else messages.take_unasked()
        # An association from before the installation. Its loop never blocks, and says that it is
        # not paused before it looks; where it wakes up late it would take the response for a
        # request and drop it.
        if not block and not self.assoc._reactor_checkpoint.is_set():
            return _NONE
        return stock(self, block)

    return get_msg


def keep_asking(stock: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Have each of the generators of responses ask by itself, in whatever thread it goes on."""

    @wraps(stock)
    def wrap_responses(self: Any, *args: Any) -> Iterator[Any]:
        messages = self.dimse.msg_queue
        responses = stock(self, *args)
        return messages.keep_asking(responses) if isinstance(messages, Messages) else responses

    return wrap_responses


class _Outgoing:
    """Stands in for a DIMSE provider and its DUL, and keeps what the one sends by the other."""

    def __init__(self, dimse: Any) -> None:
        self._dimse, self.assoc, self.dul = dimse, dimse.assoc, self
        self.primitives: list[Any] = []
        self.send_pdu = self.primitives.append

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dimse, name)


def send_msg(stock: Callable[[Any, Any, int], None]) -> Callable[[Any, Any, int], None]:
    """Make ``DIMSEServiceProvider.send_msg`` send the whole message at once."""

    @wraps(stock)
    def send_msg(self: Any, primitive: Any, context_id: int) -> None:
        dul, messages = self.dul, self.msg_queue
        if type(dul).send_pdu is not DULServiceProvider.send_pdu:  # who knows what it does
            stock(self, primitive, context_id)
            return
        outgoing = _Outgoing(self)
        stock(outgoing, primitive, context_id)
        if isinstance(messages, Messages) and primitive.MessageIDBeingRespondedTo is None:
            messages.ask(primitive)
        with dul.to_provider_queue.mutex:
            dul.to_provider_queue.queue.extend(outgoing.primitives)
        send_waiting = vars(dul).get("_nset_send_waiting")
        if send_waiting is not None:
            send_waiting()

    return send_msg


def do_action(stock: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
    """Make ``StateMachine.do_action`` pass over what a program sends when it is too late for it.

    The DUL's thread would end, with a traceback and perhaps without closing the connection.
    """

    @wraps(stock)
    def do_action(self: Any, event: str) -> None:
        if event in _REQUESTS and (event, self.current_state) not in TRANSITION_TABLE:
            primitive = self.dul.to_provider_queue.get(False)
            _LOGGER.debug("%s not sent in %s", type(primitive).__name__, self.current_state)
        else:
            stock(self, event)

    return do_action


def make_target(stock: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Count the threads that serve N-EVENT-REPORTs, of which the association's loop is not one."""

    @wraps(stock)
    def make_target(serve_request: Any) -> Any:
        target = stock(serve_request)
        aside = vars(serve_request.__self__).setdefault("_nset_aside", [])
        aside.append(None)

        def serve_aside(*args: Any) -> None:
            try:
                target(*args)
            finally:
                aside.pop()

        return serve_aside

    return make_target


def is_release_requested(stock: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Make ``ACSE.is_release_requested`` say so once all is answered that came before."""

    @wraps(stock)
    def is_release_requested(self: Any) -> bool:
        assoc = self.assoc
        if not assoc.dul.to_user_queue.queue:  # as at nearly every turn of the loop
            return False
        if not isinstance(assoc.dul.peek_next_pdu(), A_RELEASE):
            return stock(self)
        message = True
        while assoc.is_established and message:
            context_id, message = assoc.dimse.get_msg(block=False)
            if message:
                assoc._serve_request(message, context_id)
        is_served = assoc.is_established and not vars(assoc).get("_nset_aside")
        return is_served and stock(self)

    return is_release_requested


def run_reactor(stock: Callable[[Any], None]) -> Callable[[Any], None]:
    """Have an A-ABORT go out before the socket is closed; the log says what was not served."""

    @wraps(stock)
    def _run_reactor(self: Any) -> None:
        try:
            stock(self)
        finally:
            self._is_paused = True  # for good: whoever has just begun to ask waits for that
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
    """Wait for the A-ABORT and all before it, while the peer takes any of that."""
    left, end = -1, 0.0
    while dul.is_alive() and dul.state_machine.current_state not in _OVER:
        if len(dul.to_provider_queue.queue) != left:
            left, end = len(dul.to_provider_queue.queue), time.monotonic() + _STALLED
        elif time.monotonic() > end:
            return
        time.sleep(0.01)
