"""Python as the tests start it: a warning is an error there too."""

import sys

STRICT_PYTHON = (
    *(sys.executable, "-W", "error"),
    *("-W", "ignore:'collections.abc.ByteString' is deprecated:DeprecationWarning"),  # as pytest
)
