"""What the benchmarks take from tests/support."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from encoded_data_sets import EXPLICIT, IMPLICIT, pydicom_decode, pydicom_encode
from implementations import loaded
from raw_peer import P_DATA_TF, Peer, associate_rq, p_data, pdu

__all__ = [
    "EXPLICIT",
    "IMPLICIT",
    "P_DATA_TF",
    "Peer",
    "associate_rq",
    "loaded",
    "p_data",
    "pdu",
    "pydicom_decode",
    "pydicom_encode",
]
