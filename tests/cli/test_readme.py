"""What the README says is run: its sessions, and its program with the output it is said to have."""

import doctest
import re
import subprocess
import sys

from paths import REPOSITORY

README = REPOSITORY / "README.md"


def test_sessions_give_what_they_show(nset):
    result = doctest.testfile(str(README), module_relative=False, encoding="utf-8")
    assert result.attempted > 0
    assert result.failed == 0


def test_program_prints_what_is_said(nset):
    text = README.read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (output,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    command = [sys.executable, "-W", "error", "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.stderr == ""
    assert ran.stdout == output
