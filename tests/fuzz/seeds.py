"""Inputs made of what other tests send, of which `fuzz.py --keep` makes the corpus."""

from collections.abc import Callable, Iterator
from random import Random

import bad_requests
import dicom_streams
import fuzzed_associations
import service_requests
from command_sets import golden, upstream
from encoded_data_sets import nested, random_data_set
from n_set_requests import DATA, message, request
from raw_peer import associate_rq
from violations import CASES, explicit_vr


def _command_sets() -> Iterator[bytes]:
    yield from (one.data for one in golden().values())
    yield from upstream().values()
    yield from (case.data for case in CASES.values() if case.data)
    yield explicit_vr()


def _data_sets() -> Iterator[bytes]:
    yield b"\0" + DATA
    for number in range(400):
        implicit = number % 2 == 0
        yield bytes((number % 256,)) + random_data_set(Random(number), implicit=implicit)
        yield bytes((number % 256,)) + nested(number % 8, implicit=implicit)


def _streams() -> Iterator[bytes]:
    """What peers send, behind two bytes that say how."""
    sent = [
        one if isinstance(one, bytes) else one[0]
        for cases in vars(bad_requests).values()
        if isinstance(cases, dict)
        for one in cases.values()
        if isinstance(one, bytes) or (isinstance(one, tuple) and isinstance(one[0], bytes))
    ]
    sent += [
        service_requests.sent(asked, service.classes[0])
        for service in service_requests.SERVICES.values()
        for asked in service.requests.values()
    ]
    sent += [message(request({0x0100: field})) for field in (0x0001, 0x0020, 0x0FFF, 0x8120)]
    rng = Random(1)
    for one in sent:
        if 0 < len(one) < 6000:
            how = rng.randrange(4) | 1, rng.choice((0, 0, 1, 7, 30))
            end = rng.choice((b"", dicom_streams.RELEASE, dicom_streams.ABORT, one))
            yield bytes(how) + one + end
    for one in (fuzzed_associations.PREFERRED, associate_rq(), dicom_streams.request()):
        yield b"\2\0" + one + dicom_streams.RELEASE


SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "command_set": _command_sets,
    "pdus": _streams,
    "data_set": _data_sets,
    "association": _streams,
}
