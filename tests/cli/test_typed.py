"""The programs in typed/ do what their types say; ``make types`` checks those."""

import os
import subprocess
import sys

import pytest
from paths import TESTS

PRINTED = {
    "drop_in.py": "7 request\nunknown\nresponse 1.2.3 Success\n7 False\n110\n",
    "installed.py": "True 0 [1]\n",
    "server.py": "1.2.3\n1 {'Success': 1}\n127.0.0.1 None\n0\n",
}


@pytest.mark.parametrize("name", PRINTED)
def test_program(nset, name):
    program = TESTS / "typed" / name
    done = subprocess.run(
        [sys.executable, "-W", "ignore", program],
        env=os.environ | {"NSET_IMPLEMENTATION": nset.IMPLEMENTATION},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == PRINTED[name]


def test_there_is_no_other_program():
    programs = (TESTS / "typed").glob("*.py")
    assert {program.name for program in programs} == PRINTED.keys()
