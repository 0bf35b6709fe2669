"""What the benchmarks take from tests/support."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from implementations import loaded
from raw_peer import P_DATA_TF, Peer, associate_rq, p_data, pdu

__all__ = ["P_DATA_TF", "Peer", "associate_rq", "loaded", "p_data", "pdu"]
