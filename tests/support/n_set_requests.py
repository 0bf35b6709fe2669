"""N-SET requests byte by byte, as they should be and otherwise."""

from associations import INSTANCE, MPPS, completed_bytes
from command_sets import command_set, element
from raw_peer import COMMAND, LAST, p_data

OTHER_INSTANCE = "1.2.826.0.1.3680043.8.498.77"
TOO_LONG = "1." * 32 + "1"  # 65 characters
DATA = completed_bytes()


def uid(text: str) -> bytes:
    return text.encode("ascii") + b"\0" * (len(text) % 2)


ELEMENTS = {
    0x0003: uid(MPPS),
    0x0100: 0x0120,
    0x0110: 7,
    0x0800: 0x0001,
    0x1001: uid(INSTANCE),
}


def request(changes: dict[int, bytes | int | None] | None = None) -> bytes:
    """The command set of an N-SET-RQ; an element that is None is left out."""
    elements = sorted({**ELEMENTS, **(changes or {})}.items())
    return command_set(*(element(tag, value) for tag, value in elements if value is not None))


def request_of(
    message_id: int = 7, sop_class: str = MPPS, instance: str = INSTANCE, kind: int = 0x0001
) -> bytes:
    """The same, by what may differ from one good request to the next."""
    changes = {0x0003: uid(sop_class), 0x0110: message_id, 0x0800: kind, 0x1001: uid(instance)}
    return request(changes)


def message(command: bytes, data_set: bytes | None = DATA) -> bytes:
    """In a PDU for the command set and one for the data set."""
    sent = p_data((1, COMMAND | LAST, command))
    return sent if data_set is None else sent + p_data((1, LAST, data_set))


def cut(data: bytes, length: int) -> list[bytes]:
    return [data[at : at + length] for at in range(0, len(data), length)]


def pdvs(kind: int, fragments: list[bytes]) -> list[tuple[int, int, bytes]]:
    last = len(fragments) - 1
    return [
        (1, kind | (LAST if at == last else 0), fragment) for at, fragment in enumerate(fragments)
    ]


def with_class(text: bytes) -> bytes:
    return message(request({0x0003: text}))


def with_instance(text: bytes) -> bytes:
    return message(request({0x1001: text}))


AFFECTED = {0x0002: uid(MPPS), 0x1000: uid(INSTANCE)}
INSTANCE_OFFSET = len(request()) - len(element(0x1001, uid(INSTANCE)))
RESPONSE = request({0x0100: 0x8120, 0x0110: None, 0x0120: 7, 0x0800: 0x0101, 0x0900: 0x0000})
