"""What the README says is run: its sessions, and its program with the output it is said to have."""

import doctest
import re
import shlex
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


def test_the_mpps_server_lists_what_was_reported(nset, tmp_path):
    """The three lines, at a port that is free."""
    text = README.read_text(encoding="utf-8")
    (lines,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    server, modality, listed = (
        shlex.split(re.sub(r"\.venv/bin/(python|nset)", r"\1", line)) for line in lines.splitlines()
    )
    as_module = [sys.executable, "-m", "nset"]
    assert (server[:2], server[2]) == (["nset", "mpps"], "127.0.0.1:11112")
    server[2] = "127.0.0.1:0"
    with subprocess.Popen(
        [*as_module, *server[1:]], stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        try:
            port = re.search(r"Serving as NSET_MPPS at 127.0.0.1:(\d+)", process.stderr.readline())[
                1
            ]
            assert modality[-1] == "11112"
            subprocess.run([sys.executable, *modality[1:-1], port], check=True, timeout=60)
            ran = subprocess.run(
                [*as_module, *listed[1:]], capture_output=True, text=True, cwd=tmp_path, timeout=60
            )
        finally:
            process.terminate()
    assert re.search(r"^COMPLETED +P-4711 +A2024-0815 +XRAY_2 +DX ", ran.stdout, re.MULTILINE)
