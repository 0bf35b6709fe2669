"""Nothing that nset does, or refuses to do, keeps memory or a reference to what it was given."""

import copy
import gc
import importlib
import logging
import pickle
import re
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

from bad_requests import ABORTED, REFUSED, SERVED
from command_sets import golden, upstream
from cores import twins
from dicom_streams import CLIENT, SERVER, ethernet, pcap, segment
from dicom_streams import request as proposal
from dumped import ECHO, p_data
from encoded_data_sets import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    damaged,
    encoded_element,
    nested,
    random_data_set,
    read_all,
)
from leaks import TIMES, check, frees_at_once, quiet, tried
from n_set_requests import DATA, message, request
from paths import DOCS
from pdu_streams import read
from pydicom import Dataset
from raw_peer import COMMAND, LAST
from violations import CASES

pytestmark = frees_at_once

SETTINGS = {
    "MessageID": (7, 0, 65535, -1, 65536, "7", None),
    "MessageIDBeingRespondedTo": (7, -1, 65536, "7", None),
    "Status": (0x0110, -1, 65536, "x", None),
    "AffectedSOPClassUID": ("1.2.3", "1.2.840.10008.3.1.2.3.3", b"1.2.4", "1.a", 7, None),
    "AffectedSOPInstanceUID": ("1.2.3", "1." * 40, b"1.2.4", "1.a", 7, None),
    "RequestedSOPClassUID": ("1.2.3", b"1.2.4", "1.a", 7, None),
    "RequestedSOPInstanceUID": ("1.2.3", b"1.2.4", "", "1.a", 7, None),
    "ModificationList": (BytesIO(DATA), b"", 7, None),
    "AttributeList": (BytesIO(DATA), b"", 7, None),
    "AttributeIdentifierList": ([0x00100010], 0x00100010, "no tag", None),
    "ErrorComment": ("text", "a\\b", "a" * 65, None),
    "ErrorID": (7, -1, 65536, None),
    "OffendingElement": ([0x00100010], "no tag", None),
}


def _full(nset: Any) -> Any:
    primitive = nset.N_SET()
    for keyword, values in SETTINGS.items():
        if keyword != "MessageIDBeingRespondedTo":
            setattr(primitive, keyword, values[0])
    return primitive


def test_primitives(nset):
    primitive = _full(nset)
    assert primitive.is_valid_request
    actions = {
        "create": nset.N_SET,
        "fill": lambda: _full(nset),
        "copy": lambda: copy.copy(primitive),
        "deepcopy": lambda: copy.deepcopy(primitive),
        "pickle": lambda: pickle.loads(pickle.dumps(primitive)),
        "repr": lambda: repr(primitive),
        "respond": lambda: primitive.response(0x0110),
        "encode": primitive.to_command_set,
        "valid?": lambda: (primitive.is_valid_request, primitive.is_valid_response),
        "which": lambda: primitive.msg_type,
        "an unknown attribute": tried(getattr, primitive, "Nothing"),
    }
    for keyword, values in SETTINGS.items():
        for value in values:
            actions[f"{keyword} = {value!r}"] = tried(setattr, nset.N_SET(), keyword, value)
        actions[f"get {keyword}"] = lambda keyword=keyword: getattr(primitive, keyword)
        actions[f"del {keyword}"] = tried(delattr, primitive, keyword)
    check(actions)


def test_references_to_what_is_set(nset):
    """The same objects, so that no memory says that one more of them is kept."""
    values = [*((key, value) for key, values in SETTINGS.items() for value in values)]
    values = [(key, value) for key, value in values if not isinstance(value, int | None.__class__)]
    before = [sys.getrefcount(value) for _, value in values]
    with quiet():
        for keyword, value in values:
            primitive = nset.N_SET()
            for _ in range(TIMES):
                tried(setattr, primitive, keyword, value)()
                getattr(primitive, keyword)
                tried(primitive.to_command_set)()
    del primitive
    gc.collect()
    after = [sys.getrefcount(value) for _, value in values]
    grown = [pair for pair, a, b in zip(values, before, after, strict=True) if b - a > TIMES // 2]
    assert grown == []


def test_command_sets(nset):
    sets = {**{name: one.data for name, one in golden().items()}, **upstream()}
    sets |= {name: case.data for name, case in CASES.items() if case.data}
    actions = {}
    for name, data in sets.items():
        actions[name] = tried(nset.N_SET.from_command_set, data)
        actions[f"{name}, strict"] = tried(nset.N_SET.from_command_set, data, strict=True)
    for value in (None, "text", 7, bytearray(request()), memoryview(request())):
        actions[f"a {type(value)}"] = tried(nset.N_SET.from_command_set, value)
    check(actions)


def test_messages(nset):
    wire = importlib.import_module("nset.wire")
    primitive = _full(nset)

    def assemble(*pdvs: bytes, most: int | None = None) -> None:
        assembler = wire.MessageAssembler(most)
        for pdv in pdvs:
            assembler.feed(1, pdv)

    def refused() -> None:
        assembler = wire.MessageAssembler()
        for pdv in (bytes((COMMAND | LAST,)) + request({0x1001: b"1.a "}), data):
            tried(assembler.feed, 1, pdv)()

    def change_context() -> None:
        assembler = wire.MessageAssembler()
        assembler.feed(1, command)
        assembler.feed(3, data)

    command, data = bytes((COMMAND | LAST,)) + request(), bytes((LAST,)) + DATA
    check(
        {
            "whole": lambda: assemble(command, data),
            "a part": lambda: assemble(command),
            "too long": tried(assemble, command, data, most=3),
            "data first": tried(assemble, data),
            "a command set among data": tried(assemble, command, command),
            "no header": tried(assemble, b""),
            "no bytes": tried(assemble, 7),
            "broken": tried(assemble, command[:20] + b"\xff" * 9 + command[20:]),
            "refused, and its data": refused,
            "another context": tried(change_context),
            "a command set that never ends": tried(assemble, *[b"\1" + bytes(0x8000)] * 3),
            "another service": lambda: assemble(bytes((COMMAND | LAST,)) + ECHO),
            "data set follows?": lambda: wire.data_set_follows(request()),
            "no data set follows": tried(wire.data_set_follows, b"\0" * 20),
            "encode": lambda: wire.encode_pdus(primitive, 1, 100),
            "too short a PDU": tried(wire.encode_pdus, primitive, 1, 7),
            "no context": tried(wire.encode_pdus, primitive, 2),
            "nothing to encode": tried(wire.encode_pdus, nset.N_SET(), 1),
        }
    )


@twins
def test_pdus(twin):
    streams = {f"served {name}": stream for name, stream in SERVED.items()}
    for what, cases in (("refused", REFUSED), ("aborted", ABORTED)):
        streams |= {f"{what} {name}": case[0] for name, case in cases.items()}
    assert len(streams) > 50
    check(
        {
            name: lambda stream=stream: read(twin, [stream[:9], stream[9:]])
            for name, stream in streams.items()
            if len(stream) < 10_000
        }
    )


def test_data_sets(nset):
    dataset = importlib.import_module("nset.dataset")
    actions: dict[str, Callable[[], Any]] = {}

    def there_and_back(data: bytes, syntax: str) -> None:
        data_set = dataset.decode(data, syntax)
        read_all(data_set)
        dataset.encode(data_set, syntax)

    for number in range(8):
        rng = Random(number)
        syntax = (IMPLICIT, EXPLICIT)[number % 2]
        data = random_data_set(rng, implicit=number % 2 == 0)
        actions[f"{number}"] = tried(there_and_back, data, syntax)
        actions[f"{number} damaged"] = tried(there_and_back, damaged(rng, data), syntax)
    whole = nested(3)
    unknown = encoded_element(0x00091001, "UN", nested(65), implicit=False)
    wrong = Dataset()
    with quiet():
        wrong.add_new(0x00280010, "US", "no number")
    deflated, big = (dataset.encode(dataset.decode(whole, IMPLICIT), to) for to in (DEFLATED, BIG))
    actions |= {
        "deflated": lambda: there_and_back(deflated, DEFLATED),
        "big endian": lambda: there_and_back(big, BIG),
        "from one to the other": lambda: dataset.encode(dataset.decode(whole, IMPLICIT), EXPLICIT),
        "copies": lambda: copy.deepcopy(dataset.decode(whole, IMPLICIT)),
        "pickles": lambda: pickle.loads(pickle.dumps(dataset.decode(whole, IMPLICIT))),
        "no such attribute": tried(lambda: dataset.decode(whole, IMPLICIT).PatientName),
        "no bytes": tried(dataset.decode, 7, IMPLICIT),
        "no transfer syntax": tried(dataset.decode, whole, "1.2.3"),
        "no transfer syntax to encode in": tried(dataset.encode, Dataset(), "1.2.3"),
        "no data set": tried(dataset.encode, 7, IMPLICIT),
        "what can't be encoded": tried(dataset.encode, wrong, EXPLICIT),
        "too much when inflated": tried(dataset.decode, deflated, DEFLATED, max_inflated_bytes=8),
        "too deep": tried(dataset.decode, nested(65), IMPLICIT),
        "too deep, and unknown": tried(there_and_back, unknown, EXPLICIT),
    }
    check(actions)


def test_dumps(nset, tmp_path):
    dump = importlib.import_module("nset.dump")
    stream = proposal() + message(request())
    packets = pcap([ethernet(segment(CLIENT, SERVER, 1, stream))])
    file = tmp_path / "stream"
    inputs = {
        "a command set": request(),
        "a violation": request({0x1001: b"1.a "}),
        "PDUs": stream,
        "half of them": stream[:-9],
        "PDVs": p_data(3, ECHO)[6:],
        "packets": packets,
        "half of them, too": packets[:-9],
        "nothing": b"",
        "no DICOM": bytes(range(200)),
    }
    actions = {
        name: tried(lambda data=data: dump.dump(data).as_json()) for name, data in inputs.items()
    }
    file.write_bytes(stream)
    actions |= {
        "load a file": lambda: dump.dump(dump.load(str(file))).as_json(),
        "load text": lambda: dump.dump(dump.load(stream.hex())).violation_count,
        "load no text": tried(dump.load, "nowhere"),
        "load a folder": tried(dump.load, str(tmp_path)),
    }
    check(actions)


def test_statuses_and_errors(nset):
    status, errors = nset.status, nset.CommandSetError

    def answer() -> None:
        error = nset.StatusError(0x0110, "No \\", error_id=7, offending_elements=["PatientID"])
        assert error.details
        str(error)

    def raise_codec_error() -> None:
        try:
            nset.N_SET.from_command_set(request({0x1001: b"1.a "})[:-3], strict=True)
        except errors as exc:
            pickle.loads(pickle.dumps(exc))
            str(exc)

    def configured() -> None:
        before = nset.config.ENFORCE_UID_CONFORMANCE
        nset.config.ENFORCE_UID_CONFORMANCE = True
        try:
            tried(setattr, nset.N_SET(), "AffectedSOPInstanceUID", "1.a")()
        finally:
            nset.config.ENFORCE_UID_CONFORMANCE = before

    check(
        {
            "category": lambda: status.category(0xB000),
            "no category": tried(status.category, -1),
            "lookup": lambda: (status.lookup(0x0110), status.lookup(0x9999, "1.2.3")),
            "StatusError": answer,
            "a pickled StatusError": lambda: pickle.loads(pickle.dumps(nset.StatusError(0x0110))),
            "no StatusError": tried(nset.StatusError, 0x10000),
            "no tag": tried(nset.StatusError, 0, offending_elements=["nothing"]),
            "CommandSetError": raise_codec_error,
            "config": configured,
            "no setting": tried(getattr, nset.config, "NOTHING"),
            "validate_ui": lambda: (nset.config.validate_ui("1.a"), nset.config.validate_ui(7)),
        }
    )


def test_logs(nset):
    logs = importlib.import_module("nset.logs")
    formatter = logs.JsonFormatter()
    record = logging.makeLogRecord({"msg": "%d", "args": (7,), "peer": object(), "stack_info": ""})
    failed = logging.makeLogRecord({"msg": "failed", "exc_info": (ValueError, ValueError(7), None)})
    check(
        {
            "format": lambda: formatter.format(record),
            "an exception": lambda: formatter.format(failed),
            "escaped": lambda: logs.escaped("7\n"),
            "what can't be formatted": tried(formatter.format, logging.makeLogRecord({"args": 7})),
        }
    )


def test_every_public_function_is_here(nset):
    """By its name: one that a module gets comes here, or into the file of servers."""
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_leaks*.py"))
    pages = [path.read_text("utf-8") for path in (DOCS / "reference/api").glob("*.md")]
    functions = set(re.findall(r"autofunction:: nset\.[\w.]*?(\w+)$", "".join(pages), re.MULTILINE))
    functions |= {name for name in dir(nset.N_SET) if not (name.isupper() or name[0] == "_")}
    assert len(functions) > 30
    assert functions - set(re.findall(r"\w+", text)) == set()
