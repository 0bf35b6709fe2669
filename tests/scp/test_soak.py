"""nset.scp: good associations are served well beside bad ones; half a minute of the soak test."""

import os
import subprocess
import sys

import pytest
from implementations import IMPLEMENTATIONS
from paths import REPOSITORY

SECONDS = 30
BUSY = 0.15
"""Other tests run beside this one: where they take more of the server's time, p99 is theirs."""

SOAK = REPOSITORY / "benchmarks" / "soak.py"


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="CPU time and memory are read from /proc")
@pytest.mark.skipif("compiled" not in IMPLEMENTATIONS, reason="measures the C extension")
def test_good_associations_do_not_suffer_from_bad_ones():
    done = subprocess.run(
        [sys.executable, str(SOAK), f"--seconds={SECONDS}", f"--busy={BUSY}"],
        env={**os.environ, "NSET_IMPLEMENTATION": "compiled"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=4 * SECONDS,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout
