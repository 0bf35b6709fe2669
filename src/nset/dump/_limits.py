"""Limits of a dump: its input is not trusted."""

from typing import Final

MAX_INPUT: Final = 0x10000000
"""Bytes that are read from a file, and bytes that a text may represent: 256 MiB."""

MAX_ENTRIES: Final = 50_000
"""PDUs, PDVs, elements (a long one counts as several) and violations, in total."""

MAX_SEGMENTS: Final = 500_000
"""TCP segments with data that are read from a capture."""

MAX_CONNECTIONS: Final = 50_000
"""TCP connections that are read from a capture."""

MAX_DATA_SET_ELEMENTS: Final = 2_000
"""Elements that are listed of one data set."""

MAX_DEPTH: Final = 16
"""Nested sequences that are listed."""

MAX_INFLATED: Final = 0x1000000
"""Bytes of an inflated data set: 16 MiB."""

MAX_SHOWN: Final = 200
"""Characters of a value that are shown."""
