"""``python -m nset dump``: pcap and pcapng files, and TCP streams put together from packets."""

import importlib
import json
import random
import re
import struct
import subprocess

import pytest
from dicom_streams import (
    ABORT,
    ACK,
    CLIENT,
    LINKS,
    RELEASE,
    RST,
    SERVER,
    SYN,
    acceptance,
    address,
    block,
    conversation,
    encoded,
    ethernet,
    pcap,
    pcapng,
    request,
    segment,
)
from dumped import ECHO, p_data, pdu, pdv, texts
from dumped import request as n_set
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import DATA
from pydicom import Dataset
from strict_python import STRICT_PYTHON

quick = settings(max_examples=200)

CAPTURES = DATA / "dump"
REPORT = Dataset()
REPORT.PerformedProcedureStepStatus = "COMPLETED"
DATA_SET = encoded(REPORT, "1.2.840.10008.1.2")
SENT = request() + p_data(3, n_set()) + p_data(2, DATA_SET) + p_data(3, ECHO) + RELEASE
RECEIVED = acceptance() + p_data(3, ECHO) + ABORT
NAMES = ["10.0.0.4:1042 -> 10.0.0.9:104", "10.0.0.9:104 -> 10.0.0.4:1042"]
NUMBER = 1001  # sequence number of the client's first byte


def assert_whole(dumped, names=NAMES):
    """Both streams are what was sent, and each uses what the other has accepted."""
    assert [stream.name for stream in dumped.streams] == names
    sent, received = dumped.streams
    assert [sent.size, received.size] == [len(SENT), len(RECEIVED)]
    assert [sent.missing, received.missing, sent.notes, received.notes] == [[], [], [], []]
    assert [message.name for message in sent.messages] == ["N-SET-RQ", "C-ECHO-RQ"]
    assert [message.name for message in received.messages] == ["C-ECHO-RQ"]
    assert [pdu.name for pdu in sent.other_pdus] == ["A-ASSOCIATE-RQ", "A-RELEASE-RQ"]
    assert [pdu.name for pdu in received.other_pdus] == ["A-ASSOCIATE-AC", "A-ABORT"]
    assert sent.messages[0].data_set[0].value == "COMPLETED"
    assert not sent.messages[0].transfer_syntax_guessed
    assert dumped.violation_count == 0
    assert (dumped.messages, dumped.other_pdus, dumped.violations) == ([], [], [])


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
@pytest.mark.parametrize("link", LINKS)
def test_links(dump, link, family):
    link_type, wrapped = LINKS[link]
    ends = {} if family == "IPv4" else {"client": ("fd00::4", 1042), "server": ("fd00::9", 104)}
    frames = [wrapped(packet) for packet in conversation(SENT, RECEIVED, **ends)]
    names = NAMES if family == "IPv4" else ["[fd00::4]:1042 -> [fd00::9]:104"]
    if family == "IPv6":
        names = [*names, "[fd00::9]:104 -> [fd00::4]:1042"]
    for file in (
        pcap(frames, link_type),
        pcap(frames, link_type, order=">"),
        pcap(frames, link_type, magic=0xA1B23C4D),
        pcap(frames, 0x24000000 | link_type),  # tells of a frame check sequence
        pcapng((link_type, frames)),
        pcapng((link_type, frames), order=">"),
    ):
        dumped = dump(file)
        assert_whole(dumped, names)
        assert dumped.size == len(SENT + RECEIVED)
        assert dumped.notes == []


def test_interfaces_and_sections_of_a_pcapng_file(dump):
    """Each with a link type of its own, and blocks that are none of packets."""
    packets = list(conversation(SENT, RECEIVED))
    ends = {"client": ("10.0.0.5", 2000), "first": 5}
    others = list(conversation(SENT, RECEIVED, **ends))
    section = pcapng(
        (1, [ethernet(packet) for packet in packets[::2]]),
        (101, packets[1::2]),
    )
    simple = b"".join(block(3, struct.pack("<L", len(packet)) + packet) for packet in others)
    unknown = block(0x0BAD, b"what?")
    dumped = dump(section + unknown + pcapng((101, []), order="<") + simple)
    assert len(dumped.streams) == 4
    for streams in (dumped.streams[:2], dumped.streams[2:]):
        dumped.streams = streams
        assert_whole(dumped, [stream.name for stream in streams])


def test_segments_in_any_order_and_more_than_once(dump):
    packets = list(conversation(SENT, RECEIVED, 33))
    opened, rest = packets[:2], packets[2:]
    overlapping = [segment(CLIENT, SERVER, NUMBER + at, SENT[at : at + 90]) for at in (5, 100, 200)]
    keep_alive = [segment(CLIENT, SERVER, NUMBER - 1, b"\0")]
    chance = random.Random(7)
    for _ in range(20):
        shuffled = rest + chance.sample(rest, 5) + overlapping + keep_alive
        chance.shuffle(shuffled)
        assert_whole(dump(pcap(opened + shuffled, 101)))
    # The server's packets may have been captured before those that they answer.
    assert_whole(dump(pcap(packets[::-1], 101)))


@pytest.mark.parametrize("first", [2**32 - 1, 2**32 - 50, 2**31 - 100])
def test_sequence_numbers_wrap(dump, first):
    assert_whole(dump(pcap(conversation(SENT, RECEIVED, first=first), 101)))


def test_a_port_is_used_again(dump):
    first = conversation(SENT, RECEIVED)
    second = conversation(SENT, RECEIVED, first=70_000)
    dumped = dump(pcap([*first, *second], 101))
    assert [stream.name for stream in dumped.streams] == NAMES * 2
    for streams in (dumped.streams[:2], dumped.streams[2:]):
        dumped.streams = streams
        assert_whole(dumped)


def test_connections_in_between_each_other(dump):
    first = list(conversation(SENT, RECEIVED))
    second = list(conversation(SENT, RECEIVED, client=("10.0.0.5", 1042)))
    third = list(
        conversation(b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK", server=("10.0.0.9", 80))
    )
    tls = list(conversation(b"\x16\x03\x01\2\0", b"\x16\x03\x03", server=("10.0.0.9", 2762)))
    silent = list(conversation(b"", b"", server=("10.0.0.9", 11112)))
    silent.append(segment(("10.0.0.9", 11112), CLIENT, 7, b"why it is so", RST | ACK))
    every = (
        [one for group in zip(first, second, strict=True) for one in group] + third + tls + silent
    )
    dumped = dump(pcap(every, 101))
    assert dumped.notes == [
        "1 TCP connections without data",
        "not DICOM: 10.0.0.4:1042 -> 10.0.0.9:80: begins with 47 45 54; "
        "10.0.0.4:1042 -> 10.0.0.9:2762: TLS, which is encrypted",
        "ended by a TCP reset: 10.0.0.9:11112 -> 10.0.0.4:1042",
    ]
    assert [stream.name for stream in dumped.streams] == [
        *NAMES,
        *(name.replace("10.0.0.4", "10.0.0.5") for name in NAMES),
    ]


# -- What was not captured -------------------------------------------------------------------------


def lost(*gaps, sent=SENT):
    """A capture that lacks bytes of the client's, each gap by its start and end."""
    packets = list(conversation(b"", RECEIVED))
    at = 0
    for start, stop in [*gaps, (len(sent), len(sent))]:
        packets.append(segment(CLIENT, SERVER, NUMBER + at, sent[at:start]))
        at = stop
    return pcap(packets, 101)


N_SET_AT = len(request())
COMMAND_AT = N_SET_AT + 12
DATA_SET_PDU_AT = COMMAND_AT + len(n_set())
DATA_SET_AT = DATA_SET_PDU_AT + 12
ECHO_AT = DATA_SET_AT + len(DATA_SET)


@pytest.mark.parametrize(
    ("gap", "names", "noted"),
    [
        ((5, 40), ["N-SET-RQ", "C-ECHO-RQ"], "stream"),
        ((80, 90), ["N-SET-RQ", "C-ECHO-RQ"], None),  # of the A-ASSOCIATE-RQ
        ((N_SET_AT, N_SET_AT + 3), ["message", "C-ECHO-RQ"], "stream"),
        ((N_SET_AT - 5, N_SET_AT + 8), ["message", "C-ECHO-RQ"], "stream"),
        ((N_SET_AT + 6, N_SET_AT + 9), ["message", "C-ECHO-RQ"], "message"),
        ((COMMAND_AT + 60, COMMAND_AT + 70), ["N-SET-RQ", "C-ECHO-RQ"], "message"),
        ((DATA_SET_PDU_AT, DATA_SET_AT), ["N-SET-RQ", "C-ECHO-RQ"], "stream"),
        ((DATA_SET_AT + 3, DATA_SET_AT + 7), ["N-SET-RQ", "C-ECHO-RQ"], "message"),
        ((DATA_SET_AT + 3, ECHO_AT + 3), ["N-SET-RQ"], "both"),
        ((COMMAND_AT + 60, ECHO_AT), ["N-SET-RQ", "C-ECHO-RQ"], "both"),
    ],
)
def test_lost_segments(dump, gap, names, noted):
    """The bytes that are missing are said, no violation is made of them, and the rest is shown."""
    dumped = dump(lost(gap))
    sent, _ = dumped.streams
    assert sent.size == len(SENT)
    assert sent.missing == [gap]
    assert [message.name for message in sent.messages] == names
    assert texts(sent) == []
    assert dumped.violation_count == 0
    notes = [note for message in sent.messages for note in message.notes]
    assert bool(sent.notes) == (noted in ("stream", "both"))
    if noted in ("message", "both"):
        assert any("captured" in note for note in notes)
    assert sent.other_pdus[-1].name == "A-RELEASE-RQ"
    shown = [one for message in sent.messages for one in [*message.elements, *message.data_set]]
    whole = dump(pcap(conversation(SENT, RECEIVED), 101)).streams[0]
    every = [one for message in whole.messages for one in [*message.elements, *message.data_set]]
    assert all(one in every for one in shown)


def fragmented(header, data):
    """Each PDU with two PDVs of a few bytes."""
    pieces = [data[at : at + 14] for at in range(0, len(data), 14)]
    headers = [header] * (len(pieces) - 1) + [header | 2]
    pdvs = [pdv(one, piece) for one, piece in zip(headers, pieces, strict=True)]
    return b"".join(pdu(*pdvs[at : at + 2]) for at in range(0, len(pdvs), 2))


IN_FRAGMENTS = request() + fragmented(1, n_set()) + fragmented(0, DATA_SET * 3)
IN_FRAGMENTS += p_data(3, ECHO) + RELEASE


@pytest.mark.parametrize("stream", [SENT, IN_FRAGMENTS], ids=["whole", "fragments"])
def test_every_gap(nset, dump, stream):
    """Wherever it is: nothing is shown that was not sent, and no violation made of it."""
    whole = dump(pcap(conversation(stream, RECEIVED), 101)).streams[0]
    every = [one for message in whole.messages for one in [*message.elements, *message.data_set]]
    for start in range(1, len(stream) - 1, 3):
        for size in (1, 5, 40, 150):
            stop = min(start + size, len(stream) - 1)
            dumped = dump(lost((start, stop), sent=stream))
            sent = dumped.streams[0]
            assert sent.missing == [(start, stop)]
            assert texts(sent) == [], (start, stop)
            for message in sent.messages:
                for one in [*message.elements, *message.data_set]:
                    assert one in every, (start, stop, one)


@pytest.mark.parametrize(
    "like", [ABORT + ABORT + b"\xff" * 20, p_data(3, ECHO) + b"\xff", ABORT + b"\7\7" * 9]
)
def test_what_only_looks_like_a_pdu_behind_a_gap(dump, like):
    stream = SENT[:DATA_SET_PDU_AT] + p_data(2, DATA_SET + like) + p_data(3, ECHO) + RELEASE
    (sent, _) = dump(lost((DATA_SET_PDU_AT, DATA_SET_AT), sent=stream)).streams
    assert texts(sent) == []
    assert sent.messages[-1].name == "C-ECHO-RQ"
    assert sent.other_pdus[-1].name == "A-RELEASE-RQ"


def test_the_capture_starts_late(dump):
    for at in range(1, ECHO_AT + 1):
        packets = [segment(CLIENT, SERVER, NUMBER + at, SENT[at:])]
        sent = dump(pcap(packets, 101)).streams[0]
        assert texts(sent) == [], at
        assert sent.messages[-1].name == "C-ECHO-RQ"
        assert sent.other_pdus[-1].name == "A-RELEASE-RQ"
        assert len(sent.messages) == 1 + (at <= DATA_SET_PDU_AT)


def test_packets_that_were_cut_off(dump):
    """As by tcpdump -s 200: the length is in the packet's header."""
    for ends in ({}, {"client": ("fd00::4", 1042), "server": ("fd00::9", 104)}):
        packets = list(conversation(SENT, RECEIVED, 400, **ends))
        sent, received = dump(pcap(packets, 101, snaplen=200)).streams
        header = 60 if ends else 40
        assert sent.size == len(SENT)
        assert sent.missing == [
            (at + 200 - header, min(at + 400, len(SENT))) for at in range(0, len(SENT), 400)
            if min(at + 400, len(SENT)) > at + 200 - header
        ]  # fmt: skip
        assert texts(sent) == texts(received) == []


def test_a_gap_that_is_too_long(dump):
    packets = list(conversation(SENT, RECEIVED))
    packets.append(segment(CLIENT, SERVER, NUMBER + 2**25, SENT))
    dumped = dump(pcap(packets, 101))
    missing = 2**25 - len(SENT)
    assert dumped.notes == [
        f"too many bytes missing, the rest is left out: {NAMES[0]}: {missing} bytes"
    ]
    dumped.notes = []
    assert_whole(dumped)


def test_a_packet_whose_length_the_network_card_fills_in(dump):
    packets = [bytearray(packet) for packet in conversation(SENT, RECEIVED, 10_000)]
    for packet in packets:
        packet[2:4] = bytes(2)
    assert_whole(dump(pcap(packets, 101)))


# -- What is no such file --------------------------------------------------------------------------


def test_files_without_dicom(dump, undecodable):
    fragment = bytearray(segment(CLIENT, SERVER, 1, SENT))
    fragment[6] = 0x20  # more fragments
    udp = bytearray(segment(CLIENT, SERVER, 1, SENT))
    udp[9] = 17
    http = conversation(b"GET / HTTP/1.1", b"")
    for file, reason in (
        (pcap([]), "a pcap file without a TCP connection that has DICOM in it: 0 packets"),
        (pcap([fragment, udp], 101), "2 of 2 packets are no whole TCP segments"),
        (pcap([b"\1" * 80], 105), "1 of 1 packets are no whole TCP segments, of link types 105"),
        (pcap(http, 101), "not DICOM: 10.0.0.4:1042 -> 10.0.0.9:104: begins with 47 45 54"),
        (pcap(conversation(b"", b""), 101), "1 TCP connections without data"),
    ):
        with pytest.raises(undecodable) as caught:
            dump(file)
        assert str(caught.value).endswith(reason)


def test_files_that_are_cut_off(dump, undecodable):
    packets = list(conversation(SENT, RECEIVED))
    for file in (pcap(packets, 101), pcapng((101, packets))):
        assert_whole(dump(file))
        for size in range(4, len(file)):
            try:
                dumped = dump(file[:size])
            except undecodable:
                continue
            assert dumped.streams[0].name == NAMES[0]


@pytest.mark.parametrize("length", [0, 4, 14, 2**32 - 4])
def test_blocks_without_a_length(dump, length):
    file = pcapng((101, list(conversation(SENT, RECEIVED))))
    dumped = dump(file + struct.pack("<LL", 6, length) + bytes(32))
    assert dumped.notes == [f"the file ends within a block, or has none at byte {len(file)}"]
    dumped.notes = []
    assert_whole(dumped)


def test_anything(nset, dump, undecodable):
    links = sorted(LINKS)
    packets = list(conversation(SENT, RECEIVED, 60))

    @quick
    @given(
        st.sampled_from(links),
        st.booleans(),
        st.lists(st.tuples(st.integers(0), st.binary(min_size=1, max_size=4)), max_size=20),
    )
    def check(link, is_pcapng, changes):
        link_type, wrapped = LINKS[link]
        frames = [wrapped(packet) for packet in packets]
        file = bytearray(pcapng((link_type, frames)) if is_pcapng else pcap(frames, link_type))
        for at, change in changes:
            at = 4 + at % (len(file) - 8)
            file[at : at + len(change)] = change
        try:
            dumped = dump(bytes(file))
        except undecodable:
            return
        json.dumps(dumped.as_json(), allow_nan=False)

    check()


def test_more_segments_than_are_taken(nset, dump, monkeypatch):
    monkeypatch.setattr(importlib.import_module("nset.dump._limits"), "MAX_SEGMENTS", 3)
    dumped = dump(pcap(conversation(SENT, RECEIVED, 200), 101))
    assert dumped.notes == ["more than 3 TCP segments, the rest is left out"]
    assert [stream.size for stream in dumped.streams] == [200]


def test_more_connections_than_are_taken(nset, dump, monkeypatch):
    monkeypatch.setattr(importlib.import_module("nset.dump._limits"), "MAX_CONNECTIONS", 2)
    ends = [("10.0.0.4", port) for port in range(1, 5)]
    packets = [one for end in ends for one in conversation(SENT, RECEIVED, client=end)]
    dumped = dump(pcap(packets, 101))
    assert dumped.notes == ["more than 2 TCP connections, the rest is left out"]
    assert len(dumped.streams) == 4


def test_more_entries_than_are_listed(nset, dump, monkeypatch):
    monkeypatch.setattr(importlib.import_module("nset.dump._limits"), "MAX_ENTRIES", 30)
    ends = [("10.0.0.4", port) for port in range(1, 5)]
    packets = [one for end in ends for one in conversation(SENT, RECEIVED, client=end)]
    dumped = dump(pcap(packets, 101))
    assert len(dumped.streams) == 2
    assert dumped.notes == ["more than 30 entries, 6 streams are left out"]
    assert dumped.violation_count == 1


def test_more_bytes_than_are_taken(nset, dump, undecodable, monkeypatch):
    """Also where they are only missing."""
    monkeypatch.setattr(importlib.import_module("nset.dump._limits"), "MAX_INPUT", 5000)
    packets = list(conversation(SENT, RECEIVED))
    assert_whole(dump(pcap(packets, 101)))
    packets.append(segment(CLIENT, SERVER, NUMBER + 6000, SENT))
    with pytest.raises(undecodable, match="more than 5000 bytes"):
        dump(pcap(packets, 101))


# -- Real captures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lo.pcap", "any.pcap", "tcpdump-X.txt"])
def test_captures_by_tcpdump(run, name):
    """Of a modality of pynetdicom's that reports to a server of pynetdicom's."""
    result = run("--json", str(CAPTURES / name))
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    sent, received = document["streams"]
    assert re.fullmatch(r"127\.0\.0\.1:\d+ -> 127\.0\.0\.1:11199", sent["name"])
    assert [message["name"] for message in sent["messages"]] == ["C-ECHO-RQ", "N-SET-RQ"]
    assert [message["name"] for message in received["messages"]] == ["C-ECHO-RSP", "N-SET-RSP"]
    (acceptance,) = [pdu for pdu in received["other_pdus"] if pdu["name"] == "A-ASSOCIATE-AC"]
    assert acceptance["details"]["calling_ae_title"] == "CT_4"
    assert [one["result"] for one in acceptance["details"]["presentation_contexts"]] == [0, 0]
    message = sent["messages"][1]
    assert (message["transfer_syntax"], message["transfer_syntax_guessed"]) == (
        "1.2.840.10008.1.2",
        False,
    )
    assert [(one["depth"], one["keyword"], one["value"]) for one in message["data_set"]] == [
        (0, "PerformedProcedureStepEndDate", "20261127"),
        (0, "PerformedProcedureStepStatus", "COMPLETED"),
        (0, "PerformedSeriesSequence", None),
        (1, "Item", None),
        (1, "PerformingPhysicianName", "Doe^Jane"),
        (1, "SeriesInstanceUID", "1.2.3"),
    ]


def test_what_is_printed_of_a_capture(run):
    output = run(str(CAPTURES / "lo.pcap")).stdout
    assert re.match(r"1134 bytes in 2 streams, from a pcap file\n\n127\.0\.0\.1:\d+ -> ", output)
    assert "  Presentation context 1: 0 (acceptance): 1.2.840.10008.1.2 (Implicit VR L" in output
    assert "  Called AE title: MPPS\n" in output
    assert "  data set, Implicit VR Little Endian\n" in output
    assert "> (0008,1050)  PerformingPhysicianName        PN  Doe^Jane\n" in output
    assert output.endswith("Violations of the standard: none\n")


def test_a_capture_that_stands_in_a_text_or_comes_by_a_pipe(run):
    data = (CAPTURES / "lo.pcap").read_bytes()
    expected = run(str(CAPTURES / "lo.pcap")).stdout
    assert run("-", input=data).stdout == expected
    assert run(data.hex()).stdout == expected


def test_what_is_missing_is_printed(run, tmp_path):
    file = tmp_path / "capture.pcap"
    file.write_bytes(lost((N_SET_AT, N_SET_AT + 8)))
    output = run(str(file)).stdout
    assert f"  - bytes {N_SET_AT} to {N_SET_AT + 7} were not captured\n" in output
    stream = json.loads(run("--json", str(file)).stdout)["streams"][0]
    assert stream["missing"] == [[N_SET_AT, N_SET_AT + 8]]


def test_without_dpkt(nset):
    """Captures say what they need; all else needs none."""
    program = """if True:
        import runpy, sys

        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "dpkt":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Missing())
        runpy.run_module("nset", run_name="__main__")
    """

    def spawn(source):
        command = [*STRICT_PYTHON, "-c", program, "dump", source]
        return subprocess.run(command, capture_output=True, timeout=60)

    assert spawn(p_data(3, ECHO).hex()).returncode == 0
    ran = spawn(str(CAPTURES / "lo.pcap"))
    assert ran.returncode == 2
    assert b"a file of packets needs dpkt: pip install 'nset[cli]'" in ran.stderr


def test_helpers():
    assert address("fd00::4")[-1] == 4
    assert segment(CLIENT, SERVER, 5, b"ab", SYN)[-2:] == b"ab"
