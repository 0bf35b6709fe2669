"""Reassembles the TCP streams of captured packets. Needs dpkt."""

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any, Final, NamedTuple

# dpkt has no types.
from dpkt import Error, ethernet, ip, ip6, pcap, sll, sll2, tcp  # type: ignore[import-untyped]

from nset._pdu import PDU_NAMES
from nset.dump import _limits
from nset.dump._capture import Capture, Stream, Undecodable, check_size
from nset.dump._forms import PDU_HEADER, PDUS, find_pdu

_ETHERNET: Final = 1
_COOKED: Final = 113
_COOKED_2: Final = 276
_LOOPBACKS: Final = (0, 108)
_RAW: Final = (101, 12, 14, 228, 229)
_GUESSES: Final = (_ETHERNET, 101, _COOKED, _COOKED_2, 0)
"""Link-layer header types (https://www.tcpdump.org/linktypes.html) to try for a frame of text."""

_MAX_FRAME_BYTES: Final = 70_000
_MAX_GAP_BYTES: Final = 0x1000000
"""After a longer gap, above 16 MiB, the rest of a stream is left out."""

_MAX_LISTED: Final = 5

_SECTION_HEADER: Final = 0x0A0D0D0A
_INTERFACE: Final = 1
_OBSOLETE_PACKET: Final = 2
_SIMPLE_PACKET: Final = 3
_ENHANCED_PACKET: Final = 6

Frame = tuple[int, bytes]
"""The link-layer header type, and the bytes."""
Endpoint = tuple[bytes, int]


class _Segment(NamedTuple):
    """A TCP segment; `size` bytes of payload were sent, of which fewer may have been captured."""

    source: Endpoint
    target: Endpoint
    number: int
    flags: int
    payload: bytes
    size: int


class _Direction:
    """The segments that one end of a connection has sent."""

    def __init__(self) -> None:
        self.first: int | None = None  # position of the first byte, if the SYN was captured
        self.syn: int | None = None
        self.was_reset = False
        self.pieces: list[tuple[int, bytes, int]] = []
        self._number = self._position = 0
        self._is_new = True

    def add(self, segment: _Segment) -> None:
        """Add a segment, in any order."""
        if self._is_new:
            self._number, self._is_new = segment.number, False
        # Sequence numbers wrap around: the nearest position is meant.
        step = (segment.number - self._number + 0x80000000) % 0x100000000 - 0x80000000
        self._number, self._position = segment.number, self._position + step
        position = self._position
        if segment.flags & tcp.TH_SYN:
            self.syn = segment.number
            self.first = position = position + 1
        self.was_reset |= bool(segment.flags & tcp.TH_RST)
        if segment.size and not segment.flags & tcp.TH_RST:
            self.pieces.append((position, segment.payload, segment.size))

    def stream(self, name: str, too_long: list[str]) -> Stream:
        """Return the bytes in order, each once."""
        self.pieces.sort(key=lambda piece: piece[0])
        start = self.first
        if start is None:
            start = self.pieces[0][0]
        data, missing = bytearray(), []
        end = 0  # of what was sent, as far as is known
        for position, payload, size in self.pieces:
            at = position - start
            if at > len(data) and payload:
                if at - len(data) > _MAX_GAP_BYTES:
                    too_long.append(f"{name}: {at - len(data)} bytes")
                    break
                check_size(at)
                missing.append((len(data), at))
                data += bytes(at - len(data))
            data += payload[max(len(data) - at, 0) :]
            end = max(end, at + size)
        if len(data) < end <= len(data) + _MAX_FRAME_BYTES:
            missing.append((len(data), end))
            data += bytes(end - len(data))
        return Stream(bytes(data), name, missing, self.first is not None, PDUS)


class _Connection:
    """A TCP connection; the sender of the first captured segment comes first."""

    def __init__(self, segment: _Segment) -> None:
        self.ends = [segment.source, segment.target]
        self.directions = [_Direction(), _Direction()]

    def direction(self, segment: _Segment) -> _Direction:
        return self.directions[0 if segment.source == self.ends[0] else 1]

    def is_over(self, segment: _Segment) -> bool:
        """Return whether a segment opens a new connection from the same port."""
        syn = self.direction(segment).syn
        is_syn = segment.flags & (tcp.TH_SYN | tcp.TH_ACK) == tcp.TH_SYN
        has_data = any(direction.pieces for direction in self.directions)
        return bool(is_syn and (has_data or syn is not None) and syn != segment.number)


def capture_of_file(data: bytes) -> Capture:
    """Return the TCP streams of a pcap or pcapng file that have DICOM in them.

    Raise `Undecodable` if there are none, or if the file cannot be read.
    """
    notes: list[str] = []
    is_pcapng = data.startswith(b"\n\r\r\n")
    frames = _frames_of_pcapng(data, notes) if is_pcapng else _frames_of_pcap(data, notes)
    return _capture_of(frames, f"a {'pcapng' if is_pcapng else 'pcap'} file", notes)


def capture_of_frames(blocks: list[bytes | bytearray], source: str) -> Capture | None:
    """Return the TCP streams of packets that a text, `source`, represents; None if they are none.

    Raise `Undecodable` if the packets have no DICOM in them.
    """
    if not blocks or len(blocks[0]) > _MAX_FRAME_BYTES:
        return None
    first = bytes(blocks[0])
    for link_type in _GUESSES:
        if _segment(link_type, first) is not None:
            frames = (
                (link_type, bytes(block)) for block in blocks if len(block) <= _MAX_FRAME_BYTES
            )
            return _capture_of(frames, f"{source} of packets", [])
    return None


def _frames_of_pcap(data: bytes, notes: list[str]) -> Iterator[Frame]:
    try:
        reader = pcap.Reader(BytesIO(data))
        # The higher bits describe a frame check sequence.
        link_type = reader.datalink() & 0xFFFF
    except (Error, ValueError, struct.error) as exc:
        raise Undecodable(f"a pcap file whose header can't be read: {exc}") from exc
    try:
        for _, frame in reader:
            yield link_type, frame
    except (Error, struct.error):
        notes.append("the file ends within a packet")


def _frames_of_pcapng(data: bytes, notes: list[str]) -> Iterator[Frame]:
    """Yield the packets of all interfaces and sections; dpkt's reader assumes a single one."""
    at, order = 0, "<"
    link_types: list[int] = []
    while at < len(data):
        if at + 12 > len(data):
            break
        (kind,) = struct.unpack_from(f"{order}L", data, at)
        if kind == _SECTION_HEADER:
            order = "<" if data[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            link_types = []
        (length,) = struct.unpack_from(f"{order}L", data, at + 4)
        if length < 12 or length % 4 or at + length > len(data):
            break
        body = memoryview(data)[at + 8 : at + length - 4]
        at += length
        frame = _frame_of_block(kind, body, order, link_types)
        if frame is not None:
            yield frame
    else:
        return
    notes.append(f"the file ends within a block, or has none at byte {at}")


def _frame_of_block(kind: int, body: memoryview, order: str, link_types: list[int]) -> Frame | None:
    """Return the packet of a pcapng block, or None; keep the link type of an interface."""
    if kind == _INTERFACE and len(body) >= 8 and len(link_types) < 0x10000:
        link_types.append(struct.unpack_from(f"{order}H", body)[0])
    elif kind in (_ENHANCED_PACKET, _OBSOLETE_PACKET) and len(body) >= 20:
        number, length = struct.unpack_from(f"{order}{'L' if kind == 6 else 'H2x'}8xL", body)
        if number < len(link_types):
            return link_types[number], bytes(body[20 : 20 + length])
    elif kind == _SIMPLE_PACKET and len(body) >= 4 and link_types:
        (length,) = struct.unpack_from(f"{order}L", body)
        return link_types[0], bytes(body[4 : 4 + length])
    return None


def _segment(link_type: int, frame: bytes) -> _Segment | None:
    """Decode a packet; return None for a fragment, and if it is not TCP."""
    try:
        packet = _ip_packet(link_type, frame)
        inner = packet.data
        if not isinstance(inner, tcp.TCP) or packet.v != (4 if len(packet.src) == 4 else 6):
            return None
        payload = inner.data
        if isinstance(packet, ip.IP):
            if packet.mf or packet.offset:
                return None
            whole, headers = packet.len, packet.hl * 4
        else:
            if ip.IP_PROTO_FRAGMENT in packet.extension_hdrs:
                return None
            whole = packet.plen
            headers = sum(extension.length for extension in packet.all_extension_headers)
        # If the network card segments packets, it sets their length after the capture.
        size = whole - headers - inner.off * 4 if whole else len(payload)
        if size < len(payload):
            return None
        source, target = (packet.src, inner.sport), (packet.dst, inner.dport)
        return _Segment(source, target, inner.seq, inner.flags, payload, size)
    except Exception:  # dpkt raises many kinds for bytes that are not a packet
        return None


def _ip_packet(link_type: int, frame: bytes) -> Any:
    if link_type == _ETHERNET:
        return ethernet.Ethernet(frame).data
    if link_type == _COOKED:
        return sll.SLL(frame).data
    if link_type == _COOKED_2:
        return sll2.SLL2(frame).data
    if link_type in _LOOPBACKS:
        frame = frame[4:]
    elif link_type not in _RAW:
        return None
    return (ip6.IP6 if frame[0] >> 4 == 6 else ip.IP)(frame)


def _capture_of(frames: Iterable[Frame], source: str, notes: list[str]) -> Capture:
    """Reassemble all streams, and return those of connections with DICOM."""
    connections: list[_Connection] = []
    current: dict[frozenset[Endpoint], _Connection] = {}
    packets = others = segments = 0
    link_types: set[int] = set()
    for link_type, frame in frames:
        packets += 1
        segment = _segment(link_type, frame)
        if segment is None:
            others += 1
            link_types.add(link_type)
            continue
        segments += 1
        if segments > _limits.MAX_SEGMENTS:
            notes.append(f"more than {_limits.MAX_SEGMENTS} TCP segments, the rest is left out")
            break
        ends = frozenset((segment.source, segment.target))
        connection = current.get(ends)
        if connection is None or connection.is_over(segment):
            if len(connections) >= _limits.MAX_CONNECTIONS:
                limit = _limits.MAX_CONNECTIONS
                notes.append(f"more than {limit} TCP connections, the rest is left out")
                break
            connection = current[ends] = _Connection(segment)
            connections.append(connection)
        connection.direction(segment).add(segment)
    if others:
        unknown = sorted(link_types - {*_GUESSES, *_LOOPBACKS, *_RAW})
        of_types = f", of link types {', '.join(map(str, unknown[:8]))}" if unknown else ""
        notes.append(f"{others} of {packets} packets are no whole TCP segments{of_types}")
    conversations, silent = [], 0
    foreign: list[str] = []
    resets: list[str] = []
    too_long: list[str] = []
    size = 0
    for connection in connections:
        streams = _streams(connection, resets, too_long)
        if not streams:
            silent += 1
        elif any(map(_is_dicom, streams)):
            size += sum(len(stream.data) for stream in streams)
            check_size(size)
            conversations.append(streams)
        else:
            foreign.append(f"{streams[0].name}: {_named(streams[0])}")
    if silent:
        notes.append(f"{silent} TCP connections without data")
    notes += _listed("not DICOM", foreign)
    notes += _listed("ended by a TCP reset", resets)
    notes += _listed("too many bytes missing, the rest is left out", too_long)
    if not conversations:
        why = "; ".join(notes) or f"{packets} packets"
        raise Undecodable(f"{source} without a TCP connection that has DICOM in it: {why}")
    return Capture(conversations, source, size, notes)


def _listed(what: str, names: list[str]) -> list[str]:
    """Return a note that names the first streams, if there are any."""
    more = f", and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return [f"{what}: {'; '.join(names[:_MAX_LISTED])}{more}"] if names else []


def _streams(connection: _Connection, resets: list[str], too_long: list[str]) -> list[Stream]:
    """Return the streams that have data; the requestor's first, if it is known."""
    names = [_endpoint(end) for end in connection.ends]
    streams = []
    for number, direction in enumerate(connection.directions):
        name = f"{names[number]} -> {names[1 - number]}"
        if direction.pieces:
            streams.append(direction.stream(name, too_long))
            direction.pieces.clear()
        if direction.was_reset:
            resets.append(name)
    if len(streams) == 2 and streams[1].data[:1] == b"\x01" and streams[0].data[:1] != b"\x01":
        streams.reverse()
    return streams


def _endpoint(end: Endpoint) -> str:
    address = ipaddress.ip_address(end[0])
    return f"[{address}]:{end[1]}" if address.version == 6 else f"{address}:{end[1]}"


def _is_dicom(stream: Stream) -> bool:
    """Return whether a stream seems to contain PDUs."""
    if not stream.data:
        return False
    begins = _begins_pdus(stream)
    if not stream.is_from_start:
        # It may start anywhere in a PDU, even at bytes that look like the start of one.
        return begins or find_pdu(stream.data, 0) is not None
    return begins or (bool(stream.missing) and find_pdu(stream.data, 0) is not None)


def _begins_pdus(stream: Stream) -> bool:
    head = stream.data[: PDU_HEADER.size].ljust(PDU_HEADER.size, b"\0")
    kind, reserved, length = PDU_HEADER.unpack(head)
    most = 0x1000000 if kind == 0x04 else 0x100000 if kind in (0x01, 0x02) else 16
    return kind in PDU_NAMES and reserved == 0 and length <= most


def _named(stream: Stream) -> str:
    """Describe a stream that is not DICOM."""
    start = stream.data[:3]
    if start[:2] == b"\x16\x03":
        return "TLS, which is encrypted"
    return f"begins with {start.hex(' ').upper()}"
