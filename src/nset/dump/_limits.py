"""What a dump reads and lists at most: the bytes come from strangers."""

from typing import Final

MAX_INPUT: Final = 0x10000000
"""Most bytes that are read of a file, 256 MiB, and that it may stand for."""

MAX_ENTRIES: Final = 50_000
"""Most PDUs, PDVs, elements (a long one for several) and violations, all together."""

MAX_SEGMENTS: Final = 500_000
"""Most TCP segments with data that are taken from a capture."""

MAX_CONNECTIONS: Final = 50_000
"""Most TCP connections that are taken from a capture."""

MAX_DATA_SET_ELEMENTS: Final = 2_000
"""Most elements that are listed of one data set."""

MAX_DEPTH: Final = 16
"""Most sequences within each other that are listed."""

MAX_INFLATED: Final = 0x1000000
"""Most bytes that a deflated data set is inflated to, 16 MiB."""

MAX_SHOWN: Final = 200
"""Characters that are shown of a value."""
