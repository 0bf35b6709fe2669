"""The pure-Python fallback for the fast path: as ``_core.pyx``."""

from time import monotonic, time
from typing import Any

from nset import _pdu
from nset._errors import CommandSetError
from nset.scp import _rules
from nset.scp._pure_reader import PduReader
from nset.scp._pure_requests import ServiceEventBase, encode_response
from nset.scp._services import C_ECHO, N_CREATE, ServiceClasses

__all__ = ["FastPath", "PduReader", "ServiceEventBase", "encode_response", "step"]


def step(coroutine: Any) -> tuple[bool, Any]:
    """Run a coroutine up to where it next waits.

    Parameters
    ----------
    coroutine : coroutine
        What to run; what it raises is raised.

    Returns
    -------
    tuple of (bool, object)
        Whether it has ended, and what it has returned or else yielded.
    """
    try:
        return False, coroutine.send(None)
    except StopIteration as stop:
        return True, stop.value


class FastPath(PduReader):
    """The fast path: from received bytes to the handler, and from its answer to the peer.

    It takes a request whose association has nothing else to do, and an answer that is a known
    status and a data set that the subclass encodes, or none. It leaves all else to the association,
    and to methods of the subclass. In the loop's thread, but for attributes that say otherwise.

    Attributes
    ----------
    assoc : Association
        The one of its events. Has `pdu_received`, `request_received` and `fault_received` for what
        the fast path leaves, and `responded`, called after a response if other work waits; and
        `flow`, with `pause` and `resume` for reading.
    handlers : tuple of tuple of (callable, tuple, int)
        What is bound to the events of the services, by their numbers: the function, more arguments,
        and how it is called; any thread.
    service_classes : tuple of dict
        By the number of a service and by SOP Class UID: the service classes, with their
        ``statuses``.
    pending : list of tuple
        Messages that wait to be served.
    response_counts : dict of (str, int) to int
        How many responses the fast path has sent, by service and status; any thread.
    start_task : callable
        Starts a coroutine as a task; returns whether it has ended, and its result or the task.
    outbox : list of bytes
        What is to be sent before anything else.
    write : callable
        Gives bytes to the transport.
    send_message : callable
        Sends bytes behind the outbox.
    bytes_sent : int
        How many the fast path has given to the transport; any thread.
    peer_length : int
        The peer's maximum PDU length, 0 is unlimited.
    last_received : float
        When bytes were received last, by the monotonic clock.
    is_logged : callable
        Returns whether a level of the logger that has messages at DEBUG is enabled.
    user_queue : list
        Primitives for the association.
    measure : callable or None
        Called with the event and the status of each response that the fast path sends.
    in_data_transfer : bool
        Whether the state is Sta6; any thread.
    observes_messages : bool
        Whether a program is bound to events of PDUs or messages; any thread.
    is_busy : bool
        Whether the association has a job.
    is_mid_message : bool
        Whether the slow path has received part of a message.
    is_reading_paused : bool
        Whether nothing is to be read.
    upper_layer_is_busy : bool
        Whether another thread runs the upper layer; the next PDU is not read before it is done.
    is_ending : bool
        Whether the association is to be released or is over; any thread.
    """

    _assoc: Any = None
    handlers: Any = None
    service_classes: ServiceClasses = ()
    pending: Any = None
    start_task: Any = None
    outbox: Any = None
    write: Any = None
    send_message: Any = None
    bytes_sent = 0
    peer_length = 0
    last_received = 0.0
    in_data_transfer = False
    observes_messages = False
    is_busy = False
    is_mid_message = False
    is_reading_paused = False
    is_ending = False
    upper_layer_is_busy = False
    is_logged: Any = None
    user_queue: Any = None
    measure: Any = None
    _is_logged = False
    _budget = _rules.MAX_COST_PER_TURN
    _noted = 0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._response_counts: dict[tuple[str, int], int] = {}

    @property
    def assoc(self) -> Any:
        """The association."""
        return self._assoc

    @assoc.setter
    def assoc(self, value: Any) -> None:
        self._assoc = value

    @property
    def response_counts(self) -> dict[tuple[str, int], int]:
        """How many responses the fast path has sent, by service and status."""
        return self._response_counts.copy()

    def add_to(self, events: dict[str, int], statuses: dict[int, int]) -> None:
        """Add what the fast path has counted to the counts of a server; in any thread.

        Parameters
        ----------
        events : dict of str to int
            Requests, N-SET requests, and bytes.
        statuses : dict of int to int
            Responses by status.
        """
        if requests := self.requests_read:
            events["requests"] += sum(requests.values())
            events["n_set_requests"] += requests.get("N-SET", 0)
        events["bytes_received"] += self.bytes_received
        events["bytes_sent"] += self.bytes_sent
        for (_, code), number in self.response_counts.items():
            statuses[code] = statuses.get(code, 0) + number

    # Set or defined by the subclass.
    call_in_worker: Any
    respond_later: Any
    respond_slowly: Any
    encoded: Any
    failed: Any
    refuse: Any
    log_echo: Any
    note_incomplete: Any
    begin_concurrent: Any
    end_concurrent: Any

    def data_received(self, data: bytes) -> None:
        """Process received bytes, any part of the stream."""
        self.last_received = monotonic()
        self._is_logged = self.is_logged(10)
        self.decodes_requests = (
            self.in_data_transfer and not self.observes_messages and not self._is_logged
        )
        self._budget -= len(data) // _rules.BYTES_PER_COST
        self.feed(data)
        self._read()

    def pdu_received(self, pdu: bytes) -> None:
        """Leave a PDU to the association."""
        self.assoc.pdu_received(pdu)

    def read(self) -> None:
        """Process received input in another loop iteration."""
        self._budget = _rules.MAX_COST_PER_TURN
        self._read()

    def _read(self) -> None:
        """Process received input until reading is paused or the turn is over."""
        try:
            self._read_items()
        except (CommandSetError, _pdu.PduError) as fault:
            self.assoc.fault_received(fault)
        waiting = self.bytes_waiting
        if waiting != self._noted:
            self._noted = waiting
            self.note_incomplete(waiting)

    def _read_items(self) -> None:
        while not self.is_reading_paused:
            if self.upper_layer_is_busy or self._budget <= 0:
                self.assoc.flow.pause()
                if self._budget <= 0:
                    self.assoc.flow.resume()
                return
            self.pdvs_left = _rules.MAX_PDVS_PER_CALL
            item = self.next()
            if item is None:
                if self.pdvs_left != 0:
                    return
                self._budget -= _rules.PDU_COST
            elif type(item) is bytes:
                self._budget -= _rules.PDU_COST
                self.pdu_received(item)
            else:
                self._budget -= 1
                if item._service is C_ECHO:
                    self.log_echo(item)
                if (
                    self.is_mid_message
                    or not self.in_data_transfer
                    or ((self.is_busy or self.pending) and not item._service.is_concurrent)
                    or not self.serve(item)
                ):
                    self.assoc.request_received(item)

    def serve(self, event: ServiceEventBase) -> bool:
        """Call the handler.

        Parameters
        ----------
        event : ServiceEventBase
            The event of a valid request.

        Returns
        -------
        bool
            False, with nothing done, if it is left to the slow path.
        """
        index = event._service.number
        try:  # by subscripts: free-threaded 3.13 locks twice, and yields, in get()
            context = self.contexts[event._context_id]
            service = self.service_classes[index][event._sop_class_uid()]
        except KeyError:
            return False
        if not event._service.is_concurrent:
            self.is_busy = True
        elif not self.begin_concurrent():
            return False
        function, args, mode = self.handlers[index]
        event._assoc, event._path, event._context = self._assoc, self, context
        event._seconds = time()
        if event._lacks_data_set:
            self.refuse(event)
            return True
        if mode == _rules.IN_WORKER:
            self.call_in_worker(event, service)
            return True
        try:
            answer = function(event, *args)
            if mode == _rules.AS_TASK:
                has_ended, answer = self.start_task(answer)
                if not has_ended:
                    self.respond_later(answer, event, service)
                    return True
        except BaseException as exc:
            answer = self.failed(event, exc)
        self.respond(event, service, answer)
        return True

    def respond(self, event: ServiceEventBase, service: Any, answer: Any) -> None:
        """Send the response to what a handler has returned."""
        code = answer
        data_set: Any = b""
        if event._service.response_keyword is not None:
            if type(answer) is not tuple or len(answer) != 2:
                self.respond_slowly(event, service, answer)
                return
            code, data_set = answer
        if (
            type(code) is int
            and code in service.statuses
            and self.may_respond()
            # A new instance needs a UID.
            and (code != 0 or event._service is not N_CREATE or event._instance() is not None)
        ):
            if data_set is None:
                data_set = b""
            elif event._service.response_keyword is not None:
                data_set = self.encoded(event, service, code, data_set)
                self._budget -= _rules.ENCODING_COST
            if data_set is not None:
                pdus = encode_response(event, code, self.peer_length, data_set)
                if pdus is not None:
                    self.send(event, code, pdus)
                    return
        self.respond_slowly(event, service, answer)

    def may_respond(self) -> bool:
        """Return whether responses may be sent past the upper layer."""
        return self.in_data_transfer and not self.observes_messages and not self._is_logged

    def send(self, event: ServiceEventBase, code: int, pdus: bytes) -> None:
        """Send the response to a request, and go on.

        Parameters
        ----------
        event : ServiceEventBase
            The request's.
        code : int
            The status.
        pdus : bytes
            The response.
        """
        kind = event._service.name, code
        # Before it is sent: a peer that has the answer finds it counted.
        self._response_counts[kind] = self._response_counts.get(kind, 0) + 1
        if self.measure is not None:
            self.measure(event, code)
        if self.outbox:
            self.send_message(pdus)
        else:
            self.bytes_sent += len(pdus)
            self.write(pdus)
        if event._service.is_concurrent:
            self.end_concurrent(event)
            return
        self.is_busy = False
        if self.pending or self.user_queue or self.is_ending:
            self.assoc.responded()
