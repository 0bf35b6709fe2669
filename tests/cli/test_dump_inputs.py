"""``python -m nset dump``: the forms in which bytes come in reports, and logs."""

import importlib
import json
import logging
import re
import threading
import tracemalloc

import pytest
from dicom_streams import ABORT, CLIENT, MPPS, SERVER, ethernet, request, segment
from dumped import ECHO, REQUEST, WHOLE, p_data
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import DATA
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom._handlers import debug_data

quick = settings(max_examples=300)

CAPTURES = DATA / "dump"
REPORT = (CAPTURES / "report.bin").read_bytes()
STREAM = request() + WHOLE + ABORT


@pytest.fixture
def capture_of_text(nset):
    return importlib.import_module("nset.dump._text").capture_of_text


@pytest.fixture
def found(capture_of_text):
    """What the streams in a text have in them."""

    def found(text):
        capture = capture_of_text(text if isinstance(text, bytes) else text.encode())
        if capture is None:
            return None
        return [stream.data for conversation in capture.conversations for stream in conversation]

    return found


# -- Hex dumps -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("xxd.txt", "xxd-a.txt", "xxd-g1-c24.txt", "xxd-g4-u.txt", "xxd-d.txt", "xxd-p.txt"),
        *("xxd-i.txt", "hexdump-C.txt", "hexdump.txt", "od-x1z.txt", "od-x1.txt", "od-x.txt"),
    ],
)
def test_dumps_by_tools(found, run, name):
    """By xxd, hexdump and od themselves: `*` among them, and characters that look like digits."""
    text = (CAPTURES / name).read_bytes()
    assert found(text) == [REPORT]
    assert found(text.replace(b"\n", b"\r\n")) == [REPORT]
    if not name.endswith(("-p.txt", "-i.txt")):
        assert found(b"> " + text.replace(b"\n", b"\n> ")) == [REPORT]
        assert found(b"Here it is:\n\n" + text + b"\nRegards, 42 face 17\n") == [REPORT]
    result = run(str(CAPTURES / name))
    assert (result.exit_code, result.stderr) == (0, "")
    assert (
        "CommentsOnThePerformedProcedureStep  ST  dead beef 0123 4567 89ab cdef\n" in result.stdout
    )


def wireshark(data, start=0, offset="{:04x}   ", indent="", has_characters=True):
    """Copy > ...as Hex + ASCII Dump."""
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        characters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        line = indent + offset.format(start + at) + row.hex(" ").ljust(47)
        lines.append(line + ("   " + characters if has_characters else ""))
    return "\n".join(lines) + "\n"


def test_copies_of_wireshark(found):
    for data in (REPORT, *(STREAM[:size] for size in range(10, 60))):
        assert found(wireshark(data)) == [data]
        assert found(wireshark(data, has_characters=False)) == [data]
    # Some dumps after each other are one stream.
    assert found(wireshark(WHOLE) + "\n" + wireshark(ABORT)) == [WHOLE + ABORT]
    assert found(wireshark(REPORT[32:], start=32)) == [REPORT[32:]]


def test_follow_tcp_stream(found, run):
    """The second side is indented; offsets go on in each."""
    text = wireshark(STREAM[:50], offset="{:08X}  ")
    text += wireshark(WHOLE[:20], offset="{:08X}  ", indent="    ")
    text += wireshark(STREAM[50:], start=50, offset="{:08X}  ")
    text += wireshark(WHOLE[20:], start=20, offset="{:08X}  ", indent="    ")
    assert found(text) == [STREAM, WHOLE]
    document = json.loads(run("--json", str(CAPTURES / "tshark-follow.txt")).stdout)
    first, second = document["streams"]
    assert re.fullmatch(r"127\.0\.0\.1:\d+ -> 127\.0\.0\.1:11199", first["name"])
    assert second["name"] == " -> ".join(first["name"].split(" -> ")[::-1])
    assert [message["name"] for message in first["messages"]] == ["C-ECHO-RQ", "N-SET-RQ"]
    assert not first["messages"][1]["transfer_syntax_guessed"]


@pytest.mark.parametrize("size", [32, 33, 40])
def test_a_hex_dump_with_bytes_missing(capture_of_text, undecodable, size):
    text = wireshark(STREAM).splitlines()
    text[1] = text[1][:size]
    with pytest.raises(undecodable) as caught:
        capture_of_text("\n".join(text).encode())
    count = len(bytes.fromhex(text[1][7:].strip()[: (size - 7 + 1) // 3 * 3]))
    assert str(caught.value) == (
        f"a hex dump with {count} bytes at offset 10H, and the next at 20H: some are missing"
    )


def test_a_repetition_that_is_too_long(capture_of_text, undecodable):
    text = b"00000000: 0400 0000  ....\n*\n7fffffff0:\n"
    with pytest.raises(undecodable, match="more than 268435456 bytes"):
        capture_of_text(text)


# -- Digits, arrays and literals -------------------------------------------------------------------


def rows(one, between=", ", data=STREAM, size=12):
    lines = (data[at : at + size] for at in range(0, len(data), size))
    return (between.rstrip() + "\n").join(between.join(map(one, line)) for line in lines)


C = "0x{:02x}".format
ONE_BY_ONE = {
    "0x": rows(C),
    "0x with blanks": rows(C, " "),
    "0X": rows("0X{:02X}".format),
    "0x, short": rows("0x{:x}".format),
    "digits with commas": rows("{:02x}".format),
    "digits with semicolons": rows("{:02X}".format, ";"),
    "escapes": rows("\\x{:02x}".format, "", size=len(STREAM)),
    "escapes in lines": rows("\\x{:02x}".format, ""),
    "C": "static const unsigned char pkt1[188] = {\n" + rows(C) + "\n};\n",
    "C with comments": "/* Frame (188 bytes) */\nchar x[] = {\n"
    + "".join(
        ", ".join(map(C, STREAM[at : at + 8])) + ", /* a */ b*/ c, {] */\n"
        for at in range(0, len(STREAM), 8)
    )
    + "};\nint x_len = 188;\n",
    "C with line comments": "char x[] = { // 0x41, {\n" + rows(C, ", // 0x41\n", size=1) + "};",
    "C with a comment before": "char x[] = {\n/* type */ " + rows(C) + "};",
    "Python list": f"data = {list(STREAM)}",
    "Python list in hex": "data = [\n    " + rows(C) + ",\n]  # what came",
    "Python tuple": f"bytes({tuple(STREAM)})",
    "Python bytes": repr(STREAM),
    "Python bytearray": f"data = {bytearray(STREAM)!r}\n",
    "Python fromhex": f"bytes.fromhex('{STREAM.hex(' ')}')",
    "Python in a log": f"2026-11-27 04:00:01,606 DEBUG don't: sent {STREAM[:66]!r}\n"
    f"2026-11-27 04:00:02,606 DEBUG sent {STREAM[66:]!r}, it's all\n",
    "C string": "\n".join(
        '"' + "".join(map("\\x{:02x}".format, STREAM[at : at + 16])) + '" \\'
        for at in range(0, len(STREAM), 16)
    ),
    "JSON": json.dumps({"payload": STREAM.hex(":"), "port": 104}),
}


@pytest.mark.parametrize("text", ONE_BY_ONE.values(), ids=ONE_BY_ONE)
def test_arrays_and_literals(found, run, text):
    assert found(text) == [STREAM]
    assert run(text).stdout.endswith("Violations of the standard: none\n")


def test_the_arrays_of_both_sides(found):
    """Follow TCP Stream, shown as C Arrays."""
    text = ""
    for number, (side, data) in enumerate(
        [(0, STREAM[:50]), (1, WHOLE[:20]), (0, STREAM[50:]), (1, WHOLE[20:22]), (1, WHOLE[22:])]
    ):
        text += f"char peer{side}_{number}[] = {{ /* Packet {number} */\n{rows(C, data=data)} }};\n"
    assert found(text) == [STREAM, WHOLE]


@pytest.mark.parametrize(
    "text",
    [
        *("04 00 0g", "0x04, 0x00, 0x100, 0x00", "[1, 2, 3]", "no/such/file", "it's 'quoted'"),
        *("x", "0x", "\\x", "04,,zz", "[400, 0, 0, 0, 0, 0, 0, 0, 1]", "b'\\x0", "{0x4, }"),
        *("status 0x0000 (Success), 0xFE00, 12, 13", "dead beef cafe, and more", "'abcdef'"),
    ],
)
def test_text_without_bytes(found, text):
    assert found(text) is None


def test_encodings_of_text(run, tmp_path):
    file = tmp_path / "capture.txt"
    text = "Gerät 7 meldet:\n" + wireshark(STREAM)
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "latin-1"):
        file.write_text(text, encoding=encoding)
        assert run(str(file)).stdout.startswith(f"{len(STREAM)} bytes from a hex dump, read as")


@pytest.mark.parametrize("form", ["stream", "dump", "array"])
def test_a_frame(run, form):
    """Of one packet Wireshark copies all, from the Ethernet header on."""
    frame = ethernet(segment(CLIENT, SERVER, 1, WHOLE + ABORT))
    text = {
        "stream": frame.hex(),
        "dump": wireshark(frame),
        "array": f"char x[] = {{{rows(C, data=frame)}}};",
    }
    document = json.loads(run("--json", text[form]).stdout)
    (stream,) = document["streams"]
    assert document["source"].endswith(" of packets")
    assert stream["name"] == "10.0.0.4:1042 -> 10.0.0.9:104"
    assert [message["name"] for message in stream["messages"]] == ["N-SET-RQ"]


def peak_of(capture_of_text, text, stream):
    """The most memory, in bytes, that it takes to find a stream in a text."""
    capture_of_text(text[:200])  # which imports, and compiles regular expressions
    tracemalloc.start()
    capture = capture_of_text(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert capture.conversations[0][0].data == stream
    return peak


@pytest.mark.parametrize("between", ["", " ", ":", "\n", ", 0x", "\\x"])
def test_memory(run, capture_of_text, between):
    """Of hex digits: what is kept of them, and little more than once what they are."""
    stream = p_data(3, ECHO) * 20 + p_data(3, REQUEST) + p_data(2, bytes(2**16))
    text = stream.hex(" ").replace(" ", between).encode()
    text = {", 0x": b"0x" + text, "\\x": b"\\x" + text}.get(between, text)
    assert peak_of(capture_of_text, text, stream) < 2.2 * len(text)


@pytest.mark.parametrize("name", ["hexdump", "array", "literal"])
def test_memory_of_other_text(capture_of_text, name):
    stream = bytes(range(256)) * 2**7
    text = {
        "hexdump": lambda: wireshark(stream, offset="{:08x}  "),
        "array": lambda: "char x[] = {\n" + rows(C, data=stream) + "\n};",
        "literal": lambda: "x = " + repr(stream),
    }[name]().encode()
    assert peak_of(capture_of_text, text, stream) < 4 * len(text)


def test_anything(capture_of_text, undecodable):
    text = st.lists(
        st.sampled_from(
            [
                *(
                    b"0000  04 00",
                    b"00000010: 0400 0000  ....",
                    b"\n",
                    b"*\n",
                    b" ",
                    b"0x04,",
                    b"{",
                    b"}",
                ),
                *(
                    b"[",
                    b"]",
                    b"b'",
                    b"'",
                    b'"',
                    b"\\",
                    b"\\x04",
                    b"/*",
                    b"*/",
                    b"#",
                    b"0000020 04\n",
                ),
                *(
                    b"D: ==== DEBUG - ENCODED PDU ====\n",
                    b"D:  04 00\n",
                    b"== END ENCODED PDU ==\n",
                ),
                *(
                    b"PDU Length: 4 + 6 bytes PDU header\n",
                    b"D:   04  00\n",
                    b"peer0_1[] =",
                    b"\xff",
                ),
            ]
        )
        | st.binary(max_size=3),
        max_size=20,
    ).map(b"".join)

    @quick
    @given(text)
    def check(text):
        try:
            capture = capture_of_text(text)
        except undecodable:
            return
        assert capture is None or capture.conversations

    check()


# -- Logs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pynetdicom.log", "pynetdicom-with-times.log"])
def test_logs_of_pynetdicom(run, name):
    document = json.loads(run("--json", str(CAPTURES / name)).stdout)
    assert document["source"] == "a log of pynetdicom"
    assert document["notes"] == []
    assert document["violation_count"] == 0
    names = [message["name"] for message in document["messages"]]
    n_set = [] if "times" in name else ["N-SET-RQ", "N-SET-RSP"]
    assert names == ["C-ECHO-RQ", "C-ECHO-RSP", *n_set]
    assert [pdu["name"] for pdu in document["other_pdus"]] == [
        *("A-ASSOCIATE-RQ", "A-ASSOCIATE-AC", "A-RELEASE-RQ", "A-RELEASE-RP"),
    ]
    for message in document["messages"][2:3]:
        assert message["transfer_syntax_guessed"] is False
        assert message["data_set"][1]["value"] == "COMPLETED"


def test_a_log_as_it_is_written_now(run, tmp_path):
    """What the pynetdicom that is installed says of an association."""
    lines, ended = [], threading.Event()

    class Lines(logging.Handler):
        def emit(self, record):
            lines.append(f"D: {record.getMessage()}")

    logger = logging.getLogger("pynetdicom")
    handler, level = Lines(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        server = AE(ae_title="MPPS")
        server.add_supported_context(MPPS)
        handlers = [
            (evt.EVT_N_SET, lambda event: (0, None)),
            (evt.EVT_DATA_RECV, debug_data),
            (evt.EVT_DATA_SENT, debug_data),
            (evt.EVT_CONN_CLOSE, lambda event: ended.set()),
        ]
        running = server.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        client = AE(ae_title="CT_4")
        client.add_requested_context(MPPS)
        association = client.associate(*running.server_address, ae_title="MPPS")
        report = Dataset()
        report.PerformedProcedureStepStatus = "COMPLETED"
        association.send_n_set(report, MPPS, "1.2.3")
        association.release()
        assert ended.wait(10)
        running.shutdown()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    file = tmp_path / "server.log"
    file.write_text("\n".join(lines), encoding="utf-8")
    document = json.loads(run("--json", str(file)).stdout)
    assert [message["name"] for message in document["messages"]] == ["N-SET-RQ", "N-SET-RSP"]
    assert document["messages"][0]["data_set"][0]["value"] == "COMPLETED"
    assert document["violation_count"] == 0


def test_a_log_with_lines_of_others_in_a_pdu(found, capture_of_text):
    start, end = "D: ==== DEBUG - ENCODED PDU ====\n", "D: ==== END ENCODED PDU ====\n"
    row = f"D:  {WHOLE[:25].hex(' ')}\n"
    rest = "".join(f"D:  {WHOLE[at : at + 25].hex(' ')}\n" for at in range(25, len(WHOLE), 25))
    others = "I: Association Accepted\nD: Message ID: 10\nD: 00 01\n"
    assert found(start + others + row + others + rest + others + end) == [WHOLE]
    assert found((start + row + rest + end).replace("D:", "04:02:17")) == [WHOLE]
    # nset.scp logs PDUs that it sends together as one.
    abort = f"D:  {ABORT.hex(' ')}\n"
    assert found(start + abort + others + end) == [ABORT]
    both = WHOLE + ABORT
    rows = "".join(f"D:  {both[at : at + 25].hex(' ')}\n" for at in range(0, len(both), 25))
    assert found(start + rows + others + end) == [both]
    abort = start + abort + end
    cut = start + f"D:  {ABORT[:8].hex(' ')}\n" + end
    capture = capture_of_text((abort + cut + start + "D:  07 00\n").encode())
    assert capture.notes == [
        "an incomplete PDU: 8 bytes, up to line 6",
        "an incomplete PDU: 2 bytes, up to line 8",
    ]


def test_logs_of_dcmtk(run, capture_of_text):
    result = run("--json", str(CAPTURES / "dcmtk.log"))
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["source"] == "a log of DCMTK"
    assert document["notes"] == [
        "a log of DCMTK has the bytes of A-ASSOCIATE PDUs, not of messages"
    ]
    (acceptance,) = document["other_pdus"]
    assert acceptance["details"]["calling_ae_title"] == "ECHOSCU"
    text = (CAPTURES / "dcmtk.log").read_bytes()
    for end in (text.index(b"D:   50  00  00"), text.index(b"50  00  00")):
        note = capture_of_text(text[:end]).notes[0]
        assert re.fullmatch(r"an incomplete PDU: 128 of 194 bytes, up to line 4\d", note)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "pynetdicom-without-bytes.log",
            "a log of pynetdicom without bytes in it: to log them: "
            "evt_handlers=[(evt.EVT_DATA_RECV, debug_data), (evt.EVT_DATA_SENT, debug_data)], ",
        ),
        (
            "dcmtk-without-bytes.log",
            "a log of DCMTK without bytes in it: DCMTK logs the received A-ASSOCIATE PDU at level "
            "debug, and never the bytes of messages: capture packets with ",
        ),
    ],
)
def test_logs_without_bytes(run, name, words):
    result = run(str(CAPTURES / name))
    assert result.exit_code == 2
    assert f"Error: {words}" in result.stderr


def test_a_text_without_bytes_in_a_file(run, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("The modality reports, and nothing arrives.", encoding="ascii")
    result = run(str(file))
    assert result.exit_code == 2
    assert "Error: a text in which no bytes are found" in result.stderr
