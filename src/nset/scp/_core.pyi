from typing import Any

from typing_extensions import disjoint_base

from nset._core import Primitive

def step(coroutine: Any) -> tuple[bool, Any]: ...
def encode_response(request: Primitive, status: int, max_pdu_length: int) -> bytes | None: ...

@disjoint_base
class PduReader:
    decodes_requests: bool
    @property
    def bytes_received(self) -> int: ...
    @property
    def requests_read(self) -> int: ...
    @property
    def context_id(self) -> int: ...
    contexts: dict[int, Any]
    pdvs_left: int
    @property
    def request_length(self) -> int: ...
    @property
    def bytes_waiting(self) -> int: ...
    def __init__(
        self,
        max_pdu_length: int,
        max_other_length: int,
        max_data_set_length: int,
        cls: type[Primitive],
    ) -> None: ...
    def feed(self, data: bytes) -> None: ...
    def progress(self) -> tuple[int | None, int] | None: ...
    def next(self) -> Any: ...
    def discard_input(self) -> None: ...

@disjoint_base
class SetEventBase:
    assoc: Any
    request: Any
    _context: Any
    _seconds: Any

@disjoint_base
class FastPath(PduReader):
    assoc: Any
    flow: Any
    handler: Any
    event_class: Any
    service_classes: Any
    pending: Any
    response_counts: Any
    start_task: Any
    outbox: Any
    write: Any
    send_message: Any
    is_logged: Any
    user_queue: Any
    @property
    def bytes_sent(self) -> int: ...
    peer_length: int
    last_received: float
    in_data_transfer: bool
    observes_messages: bool
    is_busy: bool
    is_mid_message: bool
    is_reading_paused: bool
    is_ending: bool
    upper_layer_is_busy: bool
    def data_received(self, data: bytes) -> None: ...
    def read(self) -> None: ...
    def serve(self, request: Any) -> bool: ...
    def respond(self, event: SetEventBase, service: Any, answer: Any) -> None: ...
