"""Fast N-SET for DICOM servers: pynetdicom's ``N_SET`` as a C extension.

``from nset import N_SET`` is a drop-in for ``pynetdicom.dimse_primitives.N_SET``.
"""

from nset import config, status, wire
from nset._errors import CommandSetError
from nset._implementation import IMPLEMENTATION
from nset._status_error import StatusError
from nset.primitive import N_SET

__version__ = "0.1.0"

__all__ = [
    "IMPLEMENTATION",
    "N_SET",
    "CommandSetError",
    "StatusError",
    "__version__",
    "config",
    "status",
    "wire",
]
