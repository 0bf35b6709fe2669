"""Association PDUs, data sets and packets, byte by byte, for what reads captures."""

import struct
from io import BytesIO

from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from raw_peer import item

MPPS = "1.2.840.10008.3.1.2.3.3"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"


def associate(kind, *items, called=b"MPPS", calling=b"CT_4", version=1):
    titles = called.ljust(16) + calling.ljust(16)
    body = struct.pack(">HH", version, 0) + titles + bytes(32) + b"".join(items)
    return struct.pack(">BBL", kind, 0, len(body)) + body


def context(kind, context_id, *items, result=0):
    return item(kind, bytes((context_id, 0, result, 0)), *items)


def request(*syntaxes, abstract_syntax=MPPS, context_id=1):
    proposed = [item(0x40, syntax) for syntax in syntaxes or (IMPLICIT,)]
    return associate(
        1,
        item(0x10, "1.2.840.10008.3.1.1.1"),
        context(0x20, context_id, item(0x30, abstract_syntax), *proposed),
        item(0x50, item(0x51, struct.pack(">L", 16382)), item(0x52, "1.2.3")),
    )


def acceptance(syntax=IMPLICIT, context_id=1, result=0):
    return associate(
        2,
        item(0x10, "1.2.840.10008.3.1.1.1"),
        context(0x21, context_id, item(0x40, syntax), result=result),
        item(0x50, item(0x51, struct.pack(">L", 16382)), item(0x52, "1.2.3")),
    )


RELEASE = bytes.fromhex("05000000000400000000")
ABORT = bytes.fromhex("07000000000400000200")


def encoded(dataset, syntax):
    """The data set as pydicom writes it."""
    file = DicomBytesIO()
    file.is_implicit_VR = syntax == IMPLICIT
    file.is_little_endian = syntax != BIG_ENDIAN
    write_dataset(file, dataset)
    return file.getvalue()


# -- Packets ---------------------------------------------------------------------------------------

SYN, ACK, RST, FIN = 2, 16, 4, 1
CLIENT = ("10.0.0.4", 1042)
SERVER = ("10.0.0.9", 104)


def address(text):
    if ":" in text:
        assert text.startswith("fd00::")
        return b"\xfd" + bytes(14) + bytes((int(text[6:], 16),))
    return bytes(map(int, text.split(".")))


def segment(source, target, number, payload=b"", flags=ACK, options=b""):
    """An IP packet with a TCP segment in it."""
    offset = (20 + len(options)) // 4
    tcp = struct.pack(
        ">HHLLBBHHH", source[1], target[1], number % 2**32, 0, offset << 4, flags, 64, 0, 0
    )
    tcp += options + payload
    ends = address(source[0]) + address(target[0])
    if ":" in source[0]:
        return struct.pack(">LHBB", 6 << 28, len(tcp), 6, 64) + ends + tcp
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0) + ends + tcp


def ethernet(packet, *tags):
    kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
    vlan = b"".join(struct.pack(">HH", tag, 7) for tag in tags)
    frame = bytes(6) + b"\2" + bytes(5) + vlan + struct.pack(">H", kind) + packet
    return frame.ljust(60, b"\xaa")  # padded to the least length


def cooked(packet):
    kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
    return struct.pack(">HHH8sH", 0, 1, 6, bytes(8), kind) + packet


def cooked_2(packet):
    kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
    return struct.pack(">HHLHBB8s", kind, 0, 1, 1, 0, 6, bytes(8)) + packet


def loopback(packet):
    return struct.pack("<L", 30 if packet[0] >> 4 == 6 else 2) + packet


LINKS = {
    "Ethernet": (1, ethernet),
    "VLAN": (1, lambda packet: ethernet(packet, 0x8100)),
    "VLAN in VLAN": (1, lambda packet: ethernet(packet, 0x88A8, 0x8100)),
    "cooked": (113, cooked),
    "cooked 2": (276, cooked_2),
    "loopback": (0, loopback),
    "raw": (101, bytes),
}


def pcap(frames, link_type=1, snaplen=262144, order="<", magic=0xA1B2C3D4):
    file = BytesIO()
    file.write(struct.pack(f"{order}LHHlLLL", magic, 2, 4, 0, 0, snaplen, link_type))
    for frame in frames:
        kept = frame[:snaplen]
        file.write(struct.pack(f"{order}LLLL", 1, 2, len(kept), len(frame)) + kept)
    return file.getvalue()


def block(kind, body, order="<"):
    body += b"\0" * (-len(body) % 4)
    length = struct.pack(f"{order}L", len(body) + 12)
    return struct.pack(f"{order}L", kind) + length + body + length


def pcapng(*interfaces, order="<"):
    """A section with interfaces, each a link type and its frames."""
    file = block(0x0A0D0D0A, struct.pack(f"{order}LHHq", 0x1A2B3C4D, 1, 0, -1), order)
    for link_type, _ in interfaces:
        file += block(1, struct.pack(f"{order}HHL", link_type, 0, 0), order)
    for number, (_, frames) in enumerate(interfaces):
        for frame in frames:
            head = struct.pack(f"{order}LLLLL", number, 0, 1, len(frame), len(frame))
            file += block(6, head + frame, order)
    return file


def conversation(sent, received, size=100, client=CLIENT, server=SERVER, first=1000):
    """The segments of a connection, opened, and each side's bytes in pieces of a size."""
    yield segment(client, server, first, flags=SYN)
    yield segment(server, client, 2 * first, flags=SYN | ACK)
    for source, target, number, data in (
        (client, server, first + 1, sent),
        (server, client, 2 * first + 1, received),
    ):
        for at in range(0, len(data), size):
            yield segment(source, target, number + at, data[at : at + size])
