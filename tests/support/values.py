"""What the contract tests put into each property: everything that a program might."""

import decimal
import enum
import io
from io import BytesIO

from pydicom.config import IGNORE
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import UID


class Code(enum.IntEnum):
    SEVEN = 7
    NEGATIVE = -1
    LARGE = 65536


class Flag(enum.IntFlag):
    ONE = 1


class Number(int):
    pass


class Contrary(int):
    """An int that says it is below a limit where it is not, and the other way round."""

    def __lt__(self, other):
        return not int(self) < other

    def __le__(self, other):
        return not int(self) <= other


class Indexable:
    def __index__(self):
        return 7

    def __repr__(self):
        return "Indexable()"


class Posing:
    """Gives itself out as an instance of another class, as proxies and mocks do."""

    def __init__(self, value):
        self._value = value

    @property
    def __class__(self):
        return type(self._value)

    def __getattr__(self, name):
        return getattr(self._value, name)

    def __le__(self, other):
        return self._value <= other

    def __lt__(self, other):
        return self._value < other

    def __ge__(self, other):
        return self._value >= other

    def __gt__(self, other):
        return self._value > other

    def __repr__(self):
        return f"Posing({self._value!r})"


class Lazy(Posing):
    """Poses as an int so well that it can be used as one."""

    def __index__(self):
        return self._value

    def __eq__(self, other):
        return self._value == other

    def __hash__(self):
        return hash(self._value)


class Text(str):
    pass


class TextEnum(str, enum.Enum):
    UID = "1.2.3"
    WORD = "word"


class Octets(bytes):
    pass


class OwnUID(UID):
    pass


class Stream(BytesIO):
    pass


def private_uid(text):
    uid = UID(text, validation_mode=IGNORE)
    uid.set_private_encoding(False, True)
    return uid


def unstripped_uid(text):
    return str.__new__(UID, text)


def uid_with_note(text):
    uid = UID(text)
    uid.note = "mine"
    return uid


def stream_at(position):
    stream = BytesIO(b"data")
    stream.seek(position)
    return stream


def closed_stream():
    stream = BytesIO(b"data")
    stream.close()
    return stream


US_VALUES = {
    **{str(number): number for number in (True, False, 0, 1, 7, 0x0112, 65535)},
    "IntEnum 7": Code.SEVEN,
    "IntFlag 1": Flag.ONE,
    "int subclass 7": Number(7),
    "contrary 65536": Contrary(65536),
    "posing as int 7": Posing(7),
    "posing as int 7 with an index": Lazy(7),
}
OUT_OF_RANGE = {
    **{
        str(number): number for number in (-1, -7, 65536, 65537, 2**31 - 1, 2**31, 2**32, 2**32 + 7)
    },
    **{f"{sign}2**{n}": s * 2**n for n in (63, 64, 70, 5000) for sign, s in (("", 1), ("-", -1))},
    "IntEnum -1": Code.NEGATIVE,
    "IntEnum 65536": Code.LARGE,
    "int subclass 65536": Number(65536),
    "contrary 7": Contrary(7),
    "tag": Tag(0x00100010),
    "posing as int 65536": Posing(65536),
}
UIDS = {
    "clean": "1.2.840.10008.3.1.2.3.3",
    "clean bytes": b"1.2.3",
    "clean UID": UID("1.2.3"),
    "UID of a transfer syntax of its own": private_uid("1.2.3"),
    "UID with a note": uid_with_note("1.2.3"),
    "UID subclass": OwnUID("1.2.3"),
    "str subclass": Text("1.2.3"),
    "str enum": TextEnum.UID,
    "bytes subclass": Octets(b"1.2.3"),
    "64 characters": "1." + "2" * 62,
    "64 bytes": b"1." + b"2" * 62,
    "empty": "",
    "empty bytes": b"",
    "empty UID": UID(""),
    "blanks": "   ",
    "blank bytes": b"  ",
    "blanks around": " 1.2.3\t",
    "blank bytes around": b"\n1.2.3 ",
    "blank around 64": " 1." + "2" * 62,
    "newline": "1.2.3\n",
    "newline in a UID": unstripped_uid("1.2.3\n"),
    "blank UID": unstripped_uid("  "),
}
NONCONFORMANT_UIDS = {
    "NUL": "1.2.3\0",
    "NUL bytes": b"1.2.3\0",
    "leading zero": "1.2.03",
    "word": "word",
    "str enum word": TextEnum.WORD,
    "two dots": "1..2",
    "backslash": "1.2\\3.4",
    "Arabic digit": "1.2.\u0663",
    "e acute": "1.2.\xe9",
    "surrogate": "1.2.\ud800",
    "bad UID of a transfer syntax of its own": private_uid("1.02"),
    "bad UID subclass": OwnUID("1.02", validation_mode=IGNORE),
    "bad str subclass": Text("1.02"),
    "65 characters": "1." + "2" * 63,
    "65 bytes": b"1." + b"2" * 63,
    "64 and NUL": "1." + "2" * 62 + "\0",
    "200 characters": "1." * 100,
}
UNDECODABLE_UIDS = {"Latin-1 bytes": b"1.2.\xe9", "bytes FF": b"\xff"}
STREAMS = {
    "stream": BytesIO(b"data"),
    "empty stream": BytesIO(),
    "stream read to the end": stream_at(4),
    "stream subclass": Stream(b"data"),
    "closed stream": closed_stream(),
    "posing as stream": Posing(BytesIO(b"data")),
}
OTHERS = {
    "None": None,
    "float": 7.0,
    "NaN": float("nan"),
    "complex": 1j,
    "Decimal": decimal.Decimal(7),
    "indexable": Indexable(),
    "bytearray": bytearray(b"1.2.3"),
    "memoryview": memoryview(b"1.2.3"),
    "StringIO": io.StringIO("data"),
    "BufferedReader": io.BufferedReader(BytesIO(b"data")),
    "list": [1, 2],
    "empty list": [],
    "dict": {},
    "class": BytesIO,
    "Dataset": Dataset(),
    "tags": MultiValue(Tag, [0x00100010, 0x00100020]),
    "empty tuple": (),
    "None alone": (None,),
    "None of a name": (None, "ModificationList"),
    "stream alone": (BytesIO(b"data"),),
    "stream of a name": (BytesIO(b"data"), "AttributeList"),
    "text of a name": ("data", "AttributeList"),
    "list of a name": ["data", "AttributeList"],
    "posing as UID": Posing(UID("1.2.3")),
}
WRONG_UIDS = {
    **US_VALUES,
    **OUT_OF_RANGE,
    **STREAMS,
    **{key: value for key, value in OTHERS.items() if key not in ("None", "posing as UID")},
}
VALUES = {
    **US_VALUES,
    **OUT_OF_RANGE,
    **UIDS,
    **NONCONFORMANT_UIDS,
    **UNDECODABLE_UIDS,
    **STREAMS,
    **OTHERS,
}

FULL = {
    "MessageID": 1,
    "MessageIDBeingRespondedTo": 2,
    "Status": 0x0107,
    "AffectedSOPClassUID": "1.2.3",
    "AffectedSOPInstanceUID": b"1.2.4",
    "RequestedSOPClassUID": UID("1.2.5"),
    "RequestedSOPInstanceUID": "1.2.6",
    "ModificationList": STREAMS["stream"],
    "ErrorComment": "comment",
    "ErrorID": 9,
    "AttributeIdentifierList": [Tag(0x00100010)],
    "_context_id": 3,
}


def full(cls):
    """A primitive with every value set."""
    primitive = cls()
    for name, value in FULL.items():
        setattr(primitive, name, value)
    return primitive
