"""README.md and docs/: what each code block says is run, or the page says why it is not."""

import doctest
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from configparser import ConfigParser
from contextlib import closing

import pages
import pytest
from certificates import make_certificate
from click.testing import CliRunner
from paths import DOCS, REPOSITORY, SUPPORT
from strict_python import STRICT_PYTHON

README = REPOSITORY / "README.md"
MPPS_SERVERS = [README, DOCS / "tutorials/mpps-server.md"]


def with_blocks(language):
    """Pages that have some."""
    found = [page for page in pages.PAGES if pages.blocks(page, language)]
    assert found
    return pytest.mark.parametrize("page", found, ids=pages.name)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with what the programs of the pages read."""
    for name in ("server", "clients"):
        make_certificate(tmp_path, name)
    with closing(sqlite3.connect(tmp_path / "reports.sqlite")) as database:
        database.execute("CREATE TABLE reports (uid, data)")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_each_block_is_run_or_says_why_not(page):
    run = {"pycon", "python", "sh", "json", "ini", "diff", "text", "console"}
    for block in pages.blocks(page):
        assert block.reason or block.language in run, block


@with_blocks("pycon")
def test_sessions_give_what_they_show(nset, page):
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert result.attempted > 0
    assert result.failed == 0


PROGRAMS = {
    (page, "forks" if "scp.run(" in block.text else "serves"): None
    for page in pages.PAGES
    for block in pages.blocks(page, "python")
}


@pytest.mark.parametrize(("page", "how"), PROGRAMS, ids=pages.name)
def test_programs_run_and_print_what_is_said(page, how, folder):
    """Where a page has a block of text, it is what the programs print."""
    if how == "forks" and not hasattr(os, "fork"):
        pytest.skip("nset.scp.run forks")
    command = [*STRICT_PYTHON, SUPPORT / "run_page.py", page, how]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    errors = [line for line in ran.stderr.splitlines() if not line.startswith('{"time": ')]
    assert (ran.returncode, errors) == (0, []), ran.stderr
    said = [block.text for block in pages.blocks(page, "text") if not block.reason]
    assert not said or said == [ran.stdout]


@with_blocks("json")
def test_json_is_json(page):
    for block in pages.blocks(page, "json"):
        assert json.loads(block.text)


@with_blocks("ini")
def test_configurations_can_be_read(page):
    for block in pages.blocks(page, "ini"):
        parser = ConfigParser(strict=False)
        parser.read_string(block.text)
        assert parser.sections()


@with_blocks("diff")
def test_the_line_that_changes_is_one_of_the_reference(page):
    (block,) = pages.blocks(page, "diff")
    added, old, new = block.text.splitlines()
    assert added == "+import nset.scp"
    assert new == old.replace("-ae.start_server(", "+nset.scp.start_server(ae, ")
    compile(new[1:], page, "exec")


def commands(page):
    """Those of nset, without the folder of the environment and without comments."""
    for block in pages.blocks(page, "sh"):
        for line in block.text.splitlines():
            words = shlex.split(re.sub(r"\.venv/bin/(python|nset)\b", r"\1", line), comments=True)
            if words[:1] == ["nset"] and not block.reason:
                yield words


@with_blocks("sh")
def test_commands_are_those_of_nset(nset, page, folder, monkeypatch):
    """Their options are: what they do is tested by itself."""
    from nset.cli import main
    from nset.mpps.cli import mpps

    for command in (*main.commands.values(), *mpps.commands.values()):
        if command is not mpps:
            monkeypatch.setattr(command, "callback", lambda **arguments: None)
    for _, *arguments in commands(page):
        ran = CliRunner().invoke(main, arguments)
        assert ran.exit_code == 0, ran.output


@pytest.mark.parametrize("page", MPPS_SERVERS, ids=pages.name)
def test_the_mpps_server_lists_what_was_reported(page, tmp_path):
    """The server, at a port that is free, the modality, and what was stored."""
    lines = [
        shlex.split(re.sub(r"\.venv/bin/(python|nset)\b", r"\1", line), comments=True)
        for block in pages.blocks(page, "sh")
        for line in block.text.splitlines()
        if re.search(r"\bnset\.demo\.scu\b|\bnset mpps\b", line)
    ]
    (_, _, *server), (_, *modality), (_, *listed), *_ = lines
    as_module = [sys.executable, "-m", "nset"]
    server = [word for word in server if word != "127.0.0.1:11112"]
    with subprocess.Popen(
        [*as_module, "mpps", "127.0.0.1:0", *server],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        try:
            said = process.stderr.readline()
            port = re.search(r"Serving as NSET_MPPS at 127.0.0.1:(\d+)", said)[1]
            assert modality[-1] == "11112"
            subprocess.run([sys.executable, *modality[:-1], port], check=True, timeout=60)
            ran = subprocess.run(
                [*as_module, *listed], capture_output=True, text=True, cwd=tmp_path, timeout=60
            )
        finally:
            process.terminate()
    assert re.search(r"^COMPLETED +P-4711 +A2024-0815 +XRAY_2 +DX ", ran.stdout, re.MULTILINE)
