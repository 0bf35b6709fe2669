from typing import NamedTuple

from pydicom import Dataset as _Dataset

is_usable: bool

class Dataset(_Dataset): ...

class Piece(NamedTuple):
    header: bytes
    value: bytes

def decode(data: bytes, implicit: bool) -> _Dataset | None: ...
def encode(data_set: _Dataset, implicit: bool) -> bytes | None: ...
def split(data: bytes, implicit: bool) -> dict[int, Piece] | None: ...
