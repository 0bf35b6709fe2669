"""Command sets, good or broken: the same N_SET or CommandSetError on both implementations."""

import contextlib
import logging
import struct
import warnings
from io import BytesIO

from command_sets import TAGS
from implementations import IMPLEMENTATIONS, loaded
from outcome import without_origins


def package(twin):
    with loaded(twin) as nset:
        return nset


NSETS = [package(twin) for twin in IMPLEMENTATIONS]


# -- What the bytes say ---------------------------------------------------------------------------

LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT"}
LONG_VRS.add(b"UV")


def capitals(text):
    return len(text) == 2 and all(0x41 <= character <= 0x5A for character in text)


def elements_in(data):
    """The values by their tags, cut out anew; None where a value is not whole."""
    found = {}
    at, end = 0, len(data.rstrip(b"\0"))
    explicit = capitals(data[4:6])
    while at < end:
        tag = int.from_bytes(data[at : at + 2], "little") << 16
        tag |= int.from_bytes(data[at + 2 : at + 4], "little")
        header, length = 8, int.from_bytes(data[at + 4 : at + 8], "little")
        if explicit and capitals(data[at + 4 : at + 6]):
            length >>= 16
            if data[at + 4 : at + 6] in LONG_VRS:
                header, length = 12, int.from_bytes(data[at + 8 : at + 12], "little")
        if at + 8 > len(data):
            break  # too few bytes for an element are padding
        at += header + length
        if at > len(data):
            return None
        found[tag] = data[at - length : at]
    return found


def read(keyword, value):
    """A value, whole as it stands in the bytes."""
    if keyword in ("AttributeIdentifierList", "OffendingElement"):
        assert len(value) % 4 == 0
        tags = [high << 16 | low for high, low in struct.iter_unpack("<HH", value)]
        return tags if len(tags) > 1 else tags[0] if tags else None
    text = value.decode("latin-1").partition("\\")[0].rstrip("\0 ")
    if keyword == "ErrorComment":
        return text
    if keyword.endswith("UID"):
        return text.strip() or None
    assert len(value) % 2 == 0
    return int.from_bytes(value[:2], "little") if value else None


def check_whole(data, fields):
    """Fail unless each field is the whole value of the last of its elements."""
    elements = elements_in(data)
    assert elements is not None
    expected = dict.fromkeys(TAGS)
    for keyword, tag in TAGS.items():
        if tag in elements:
            expected[keyword] = read(keyword, elements[tag])
    if elements[0x0100][:2] == b"\x20\x01":
        for which in ("SOPClassUID", "SOPInstanceUID"):
            if expected["Requested" + which] is None:
                expected["Requested" + which] = expected["Affected" + which]
    assert fields == expected


# -- What is reported -----------------------------------------------------------------------------


@contextlib.contextmanager
def telling():
    """Give a function that tells the fields, and whatever else comes of a command set."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    root = logging.getLogger()
    before, root.handlers = root.handlers, [handler]

    def tell(nset, data, strict):
        records.clear()
        caught.clear()
        try:
            primitive = nset.N_SET.from_command_set(data, strict=strict)
        except nset.CommandSetError as exc:
            fields = None
            result = (str(exc), exc.args, vars(exc), type(exc.tag))
        else:
            fields = {keyword: getattr(primitive, keyword) for keyword in TAGS}
            assert type(primitive.ModificationList) is BytesIO
            result = [type(value) for value in fields.values()]
        said = [(record.name, record.levelname, record.getMessage()) for record in records]
        return fields, result, said, [str(warning.message) for warning in caught]

    with without_origins(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield tell
        finally:
            root.handlers = before


def peeks(nset):
    """The implementation's look-up of a message's kind, and the slow path."""
    name = "read_command_field_and_type"
    return getattr(nset._implementation, name), getattr(nset._command_set, name)


def look(nset, peek, data):
    try:
        return peek(data)
    except nset.CommandSetError as exc:
        return str(exc), vars(exc)


def compare(tell, data, strictly):
    """Fail unless the implementations agree and keep the rules; return whether it is decoded."""
    lenient = [tell(nset, data, False) for nset in NSETS]
    assert lenient[1:] == lenient[:-1], data
    fields, _, said, _ = lenient[0]
    if fields is not None:
        check_whole(data, fields)
    if strictly:
        seen = [look(nset, peek, data) for nset in NSETS for peek in peeks(nset)]
        assert seen[1:] == seen[:-1], data
        strict = [tell(nset, data, True) for nset in NSETS]
        assert strict[1:] == strict[:-1], data
        # It takes what the other has nothing to say of, reads the same, and says nothing either.
        if fields is not None and not said:
            assert strict[0] == lenient[0], data
        else:
            assert strict[0][0] is None, data
            assert strict[0][2:] == ([], []), data
    return fields is not None
