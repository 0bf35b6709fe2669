"""What server processes tell each other: their counts, and how many associations each has."""

import mmap
import pickle
import zlib

from nset.scp._counters import Counts, ended

# Words of 8 bytes at the start of a place. The counts are there twice: of each copy the length and
# a checksum, and the number of the last one.
_NUMBER, _LENGTHS, _CHECKSUMS, _ASSOCIATIONS, _PID, _TURN, _WORDS = 0, 1, 3, 5, 6, 7, 8
_WORD_BYTES = 8

# For counts by whatever a program and its peers make of them; untouched, they take no memory.
_COUNTS_BYTES = 0x100000
_PLACE_BYTES = mmap.PAGESIZE + 2 * _COUNTS_BYTES


class Place:
    """The part of one server process in the memory that all of them share.

    It outlives the process: the next one goes on from the counts of the last. There is no lock, as
    a process that is killed would keep it. Counts replace the older of two copies, so that a
    process that dies meanwhile leaves the other one.

    Parameters
    ----------
    memory : mmap.mmap
        The memory.
    number : int
        The place's number, from 0.
    """

    def __init__(self, memory: mmap.mmap, number: int) -> None:
        self._memory = memory
        self._start = number * _PLACE_BYTES
        words = memoryview(memory)[self._start : self._start + _WORDS * _WORD_BYTES]
        self._words = words.cast("Q")

    @property
    def counts(self) -> Counts | None:
        """What the process has counted, when it was last written, and those before it."""
        while number := self._words[_NUMBER]:
            copy = number % 2
            start = self._start_of(copy)
            data = self._memory[start : start + self._words[_LENGTHS + copy]]
            if zlib.crc32(data) == self._words[_CHECKSUMS + copy]:  # else it is being replaced
                return Counts(*pickle.loads(data))
        return None

    @counts.setter
    def counts(self, counts: Counts) -> None:
        # No class, whose name CPython would keep each time that it is looked up (4096 of them).
        data = pickle.dumps(tuple(counts), pickle.HIGHEST_PROTOCOL)
        if len(data) > _COUNTS_BYTES:
            raise ValueError(f"{len(data)} bytes of counts, of at most {_COUNTS_BYTES}")
        number = self._words[_NUMBER] + 1
        copy = number % 2
        start = self._start_of(copy)
        self._memory[start : start + len(data)] = data
        self._words[_LENGTHS + copy] = len(data)
        self._words[_CHECKSUMS + copy] = zlib.crc32(data)
        self._words[_NUMBER] = number

    def _start_of(self, copy: int) -> int:
        return self._start + mmap.PAGESIZE + copy * _COUNTS_BYTES

    @property
    def associations(self) -> int:
        """How many the process has now."""
        return self._words[_ASSOCIATIONS]

    @associations.setter
    def associations(self, number: int) -> None:
        self._words[_ASSOCIATIONS] = number

    @property
    def pid(self) -> int:
        """The process, once it accepts connections; else 0."""
        return self._words[_PID]

    @pid.setter
    def pid(self, pid: int) -> None:
        self._words[_PID] = pid

    @property
    def turn(self) -> int:
        """When its event loop has last worked, in ns by the monotonic clock; 0 without a loop."""
        return self._words[_TURN]

    @turn.setter
    def turn(self, turn: int) -> None:
        self._words[_TURN] = turn

    def vacate(self) -> None:
        """Note that the process has ended, in whatever way."""
        self.pid = self.associations = self.turn = 0
        if (counts := self.counts) is not None:
            self.counts = ended(counts)


def places(number: int) -> list[Place]:
    """Return places in new memory, for this process and those that are forked from it.

    Parameters
    ----------
    number : int
        How many.

    Returns
    -------
    list of Place
        In their order.
    """
    memory = mmap.mmap(-1, number * _PLACE_BYTES)
    return [Place(memory, one) for one in range(number)]


class Share:
    """What one server process has of the associations that all may have together.

    Parameters
    ----------
    places : list of Place
        Of all processes.
    own : Place
        Its own.
    most : int or None
        The limit of all processes together.
    """

    def __init__(self, places: list[Place], own: Place, most: int | None) -> None:
        self._places = places
        self._own = own
        self.most = most

    def is_kept(self, associations: int) -> bool:
        """Note how many the process has; return whether all have no more than they may."""
        self._own.associations = associations
        return self.most is None or sum(one.associations for one in self._places) <= self.most
