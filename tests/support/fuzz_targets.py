"""What is fuzzed: functions of bytes that fail where nset does not do what it is to do.

Each has bytes of its own in front of those for nset, which say how these are cut up or decoded.
"""

from collections.abc import Callable
from random import Random
from string import whitespace

from compared_command_sets import NSETS, compare, telling
from compared_data_sets import compare as compare_data_sets
from cores import LIMITS, TWINS
from encoded_data_sets import EXPLICIT, IMPLICIT
from fuzzed_associations import associate
from implementations import loaded
from pdu_streams import chopped, read_by_all

PADDING = "\0" + whitespace + "\x1c\x1d\x1e\x1f\x85\xa0"


def command_set(data: bytes) -> None:
    """Decoded alike by both implementations, strictly or not, and what is encoded again, too."""
    with telling() as tell:
        compare(tell, data, strictly=True)
        encoded = [_encoded(nset, data) for nset in NSETS]
        assert encoded[1:] == encoded[:-1]
        if isinstance(encoded[0], bytes):
            compare(tell, encoded[0], strictly=True)
            before, after = (tell(NSETS[0], one, False)[0] for one in (data, encoded[0]))
            if any(isinstance(one, str) and one != one.strip(PADDING) for one in before.values()):
                return  # a value that no UID has, which ends as if it were padded
            # What a request or a response does not have is left out.
            kept = {key: None if after[key] is None else value for key, value in before.items()}
            assert kept == after
            assert _encoded(NSETS[0], encoded[0]) == encoded[0]


def _encoded(nset, data):
    try:
        primitive = nset.N_SET.from_command_set(data)
    except nset.CommandSetError:
        return None
    try:
        return primitive.to_command_set()
    except (TypeError, ValueError) as exc:
        return type(exc), str(exc)


def pdus(data: bytes) -> None:
    """Read alike by both implementations, and however the stream is cut."""
    if len(data) < 2:
        return
    decodes_requests, chop, stream = bool(data[0] & 1), data[1] % 32, data[2:]
    limits = (400, 30, 60) if data[0] & 2 else LIMITS
    whole = read_by_all([stream], limits, decodes_requests)
    assert read_by_all(chopped(stream, chop or None), limits, decodes_requests) == whole


def data_set(data: bytes) -> None:
    """Decoded, changed and encoded as pydicom does it, or the same exception."""
    if data:
        for name in TWINS:
            with loaded(name) as nset:
                syntax = EXPLICIT if data[0] & 1 else IMPLICIT
                compare_data_sets(nset.dataset, Random(data[0]), data[1:], syntax)


def association(data: bytes) -> None:
    """A whole association with a server, without a socket: see `fuzzed_associations`."""
    if len(data) >= 2:
        sent = [associate(name, data[0], data[1], data[2:]) for name in TWINS]
        if None not in sent:  # else it is the threads' turns that say how far each gets
            assert sent[1:] == sent[:-1]


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (command_set, pdus, data_set, association)
}
