"""``python -m nset dump``: the command line, its table and its JSON."""

import importlib
import json
import re
import shlex
import subprocess
import sys
from io import StringIO
from pathlib import Path

import dicom_streams
import pytest
from associations import MPPS
from command_sets import element
from dumped import ABORT, DATA_SET, ECHO, REQUEST, WHOLE, p_data, request
from n_set_requests import uid
from paths import DOCS
from strict_python import STRICT_PYTHON

PAGE = DOCS / "how-to/dump.md"


def test_exit_status_and_table(run):
    result = run(ECHO.hex())
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout == (
        "68 bytes, read as: command set\n"
        "\n"
        "C-ECHO-RQ at byte 0, command set of 68 bytes, data set none\n"
        "  byte  tag          keyword              VR  value\n"
        "     0  (0000,0000)  CommandGroupLength   UL  56\n"
        "    12  (0000,0002)  AffectedSOPClassUID  UI  1.2.840.10008.1.1 (Verification SOP Class)\n"
        "    38  (0000,0100)  CommandField         US  0030H (C-ECHO-RQ)\n"
        "    48  (0000,0110)  MessageID            US  1\n"
        "    58  (0000,0800)  CommandDataSetType   US  0101H (no data set)\n"
        "\n"
        "Violations of the standard: none\n"
    )
    result = run((WHOLE + b"\x09\x00").hex())
    assert result.exit_code == 1
    assert result.stdout.endswith(
        "PDUs and PDVs\n"
        "  ! byte 132: the input ends after 2 of the 6 bytes of a PDU header\n"
        "\n"
        "Violations of the standard: 1\n"
    )


def test_where_the_input_may_be(run, tmp_path):
    """Bytes and hex digits, from a file and standard input, and hex digits as the argument."""
    digits = WHOLE.hex()
    as_text = {
        "plain": digits,
        "capitals": digits.upper(),
        "blanks": WHOLE.hex(" "),
        "lines": WHOLE.hex(" ", 16).replace(" ", "\r\n") + "\n",
        "colons": WHOLE.hex(":"),
        "0x": " ".join(f"0x{byte:02x}" for byte in WHOLE),
        "one 0x": "0x" + digits,
    }
    expected = run(digits).stdout
    assert expected.startswith(f"{len(WHOLE)} bytes, read as: PDUs\n")
    file = tmp_path / "capture"
    for name, text in as_text.items():
        assert run(text).stdout == expected, name
        file.write_text(text, encoding="ascii", newline="")
        assert run(str(file)).stdout == expected, name
        assert run("-", input=text).stdout == expected, name
    file.write_bytes(WHOLE)
    assert run(str(file)).stdout == expected
    assert run("-", input=WHOLE).stdout == expected
    more = WHOLE + p_data(3, ECHO, 255)
    file.write_bytes(more)
    assert run(str(file)).stdout == run("-", input=more).stdout == run(more.hex()).stdout


def test_file_of_a_name_in_hex(run, tmp_path, monkeypatch):
    (tmp_path / "0102").write_bytes(ECHO)
    monkeypatch.chdir(tmp_path)
    assert run("0102").exit_code == 0
    assert run("0103").exit_code == 2


BEGIN = "neither a command set nor a PDV nor PDUs: "
REFUSED = {
    "empty": ("", "nothing to decode, the input is empty"),
    "blank": (" ", "nothing to decode, the input is empty"),
    "no file": ("no/such/file", "no such file, and not hex digits: 'no/such/file'"),
    "no digits": ("04 00 0g", "no such file, and not hex digits: '04 00 0g'"),
    "odd": ("04000", "5 hex digits, an odd number: one is missing or too many"),
    "something": ("ab" * 9, BEGIN + "9 bytes, the first are AB AB AB AB AB AB AB AB"),
    "one byte": ("ff", BEGIN + "1 byte, the first are FF"),
    "data set": ("02" + DATA_SET.hex(), BEGIN + "19 bytes, the first are 02 40 00 52 02 43 53 0A"),
    "long": ("e" * 5000, BEGIN + "2500 bytes, the first are EE EE EE EE EE EE EE EE"),
    **{
        magic: (magic + "02000400", "a pcap file whose header can't be read: got 8, 24 needed")
        for magic in ("d4c3b2a1", "a1b2c3d4", "4d3cb2a1", "a1b23c4d")
    },
    "0a0d0d0a": (
        "0a0d0d0a02000400",
        "a pcapng file without a TCP connection that has DICOM in it: "
        "the file ends within a block, or has none at byte 0",
    ),
    "DICOM file": (bytes(128).hex() + b"DICM".hex(), "a DICOM file (PS3.10), not a message"),
}


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["table", "json"])
@pytest.mark.parametrize(("source", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_decoded(run, source, words, more):
    result = run(source, *more)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"Error: {words}" in result.stderr


def test_files_that_cannot_be_read(nset, run, tmp_path, monkeypatch):
    assert run(str(tmp_path)).exit_code == 2
    text = tmp_path / "text"
    text.write_text("no hex", encoding="ascii")
    assert "a text in which no bytes are found" in run(str(text)).stderr
    monkeypatch.setattr(importlib.import_module("nset.dump._limits"), "MAX_INPUT", 67)
    long = tmp_path / "long"
    long.write_bytes(ECHO)
    for result in (run(str(long)), run("-", input=ECHO)):
        assert result.exit_code == 2
        assert "more than 67 bytes: give the part that matters" in result.stderr


def test_usage(run):
    assert run().exit_code == 2
    assert run("--yaml", "00").exit_code == 2
    assert "The exit status is 0 without violations" in run("--help").stdout


def test_json(run):
    bad = p_data(3, request(instance=b"1.02\0\0"))
    result = run("--json", (bad + WHOLE + ABORT).hex())
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert list(document) == [
        *("form", "size", "messages", "other_pdus", "violations"),
        *("name", "source", "missing", "notes", "streams", "violation_count"),
    ]
    assert document["form"] == "PDUs"
    assert document["size"] == len(bad + WHOLE + ABORT)
    assert document["violation_count"] == 3
    assert document["violations"] == []
    assert document["other_pdus"] == [
        {
            "name": "A-ABORT",
            "input_offset": len(bad + WHOLE),
            "length": 10,
            "details": {
                "source": 2,
                "source_meaning": "service-provider",
                "reason": 0,
                "reason_meaning": "reason-not-specified",
            },
        }
    ]
    first, second = document["messages"]
    assert second == {
        "name": "N-SET-RQ",
        "context_id": 1,
        "input_offset": len(bad) + 6,
        "command_set_bytes": len(REQUEST),
        "data_set_bytes": len(DATA_SET),
        "data_set_announced": True,
        "elements": second["elements"],
        "violations": [],
        "abstract_syntax": None,
        "transfer_syntax": "1.2.840.10008.1.2.1",
        "transfer_syntax_guessed": True,
        "data_set": [
            {
                "tag": "(0040,0252)",
                "keyword": "PerformedProcedureStepStatus",
                "vr": "CS",
                "length": 10,
                "depth": 0,
                "offset": 0,
                "input_offset": len(bad + WHOLE) - len(DATA_SET),
                "value": "COMPLETED",
                "meaning": "",
            }
        ],
        "notes": [],
    }
    assert second["elements"][1] == {
        "tag": "(0000,0003)",
        "keyword": "RequestedSOPClassUID",
        "vr": "UI",
        "value": MPPS,
        "meaning": "Modality Performed Procedure Step SOP Class",
        "raw": uid(MPPS).hex(),
        "offset": 12,
        "input_offset": len(bad) + 24,
    }
    assert first["violations"][1] == {
        "reason": "no UID by PS3.5 Section 9.1",
        "tag": "(0000,1001)",
        "offset": 74,
        "input_offset": 86,
        "text": "byte 86, 74 of the command set: Requested SOP Instance UID (0000,1001): "
        "no UID by PS3.5 Section 9.1",
    }
    assert run("--json", ECHO.hex()).exit_code == 0


def test_a_peer_writes_nothing_of_its_own(run):
    """Neither to a terminal nor in rich's markup."""
    comment = b"[red]a[/red]\x1b]0;title\x07\r\xff "
    data = element(0x0100, 0x8120) + element(0x0902, comment)
    output = run(data.hex()).stdout
    assert "[red]a[/red]\\x1b]0;title\\x07\\x0d\\xff" in output
    assert re.fullmatch("[ -~\n]+", output)


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_without_a_terminal_no_line_is_cut_or_padded(run, monkeypatch, term):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", "20")
    comment = b"x" * 190
    output = run((element(0x0100, 0x8120) + element(0x0902, comment)).hex()).stdout
    assert "x" * 190 in output
    assert "\x1b" not in output
    assert not re.search(" $", output, re.MULTILINE)


def test_on_a_terminal_nothing_is_lost(nset, dump, monkeypatch):
    class Terminal(StringIO):
        def isatty(self):
            return True

    show = importlib.import_module("nset.dump._show").show
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", Terminal())
    show(dump(element(0x0100, 0x8120) + element(0x0902, b"abcdefghij" * 19)))
    output = sys.stdout.getvalue()
    assert "\x1b[" in output
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    table = plain[: plain.index("  ! ")]
    assert max(map(len, table.splitlines())) <= 80
    assert "abcdefghij" * 19 in re.sub(r"\s", "", table)
    assert "(0000,0902)  ErrorComment" in plain


def spawn(*arguments, **more):
    command = [*STRICT_PYTHON, *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, **more)


def test_as_a_process(nset):
    ran = spawn("-m", "nset", "dump", "-", input=WHOLE)
    assert ran.stderr == b""
    assert ran.returncode == 0
    assert ran.stdout.decode("ascii").splitlines()[0] == f"{len(WHOLE)} bytes, read as: PDUs"
    ran = spawn("-m", "nset", "dump", "--json", p_data(3, REQUEST).hex())
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["messages"][0]["name"] == "N-SET-RQ"
    assert spawn("-m", "nset", "dump", "ab").returncode == 2


def test_without_rich(nset):
    """JSON needs none; the table says what it needs."""
    program = """if True:
        import runpy, sys

        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "rich":
                    raise ModuleNotFoundError(f"No module named {name!r}", name="rich")

        sys.meta_path.insert(0, Missing())
        runpy.run_module("nset", run_name="__main__")
    """
    ran = spawn("-c", program, "dump", "--json", ECHO.hex())
    assert (ran.returncode, ran.stderr) == (0, b"")
    ran = spawn("-c", program, "dump", ECHO.hex())
    assert ran.returncode == 2
    assert b"without --json it needs rich: pip install 'nset[cli]'" in ran.stderr


def test_docs_show_what_is_printed(run, tmp_path, monkeypatch):
    text = PAGE.read_text(encoding="utf-8")
    (capture,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    (command, output) = re.findall(r"```console\n\$ (.*?)\n(.*?)```", text, re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    Path("capture.hex").write_text(capture, encoding="ascii")
    python, minus_m, nset, dump, *arguments = shlex.split(command)
    assert [python, minus_m, nset, dump] == ["python", "-m", "nset", "dump"]
    assert run(*arguments).stdout == output


def test_docs_name_the_limits_and_keys(nset, run):
    module = importlib.import_module("nset.dump")
    limits = importlib.import_module("nset.dump._limits")
    text = PAGE.read_text(encoding="utf-8")
    assert f"{module.MAX_INPUT // 2**20} MiB" in text
    assert f"{module.MAX_ENTRIES:,} PDUs" in text
    assert f"{limits.MAX_SEGMENTS:,} TCP segments" in text
    assert f"{limits.MAX_CONNECTIONS:,} connections" in text
    assert f"{limits.MAX_DATA_SET_ELEMENTS:,} elements and {limits.MAX_DEPTH} levels" in text
    assert f"{limits.MAX_INFLATED // 2**20} MiB inflated" in text
    stream = (
        dicom_streams.request()
        + dicom_streams.acceptance(dicom_streams.EXPLICIT)
        + WHOLE
        + p_data(3, REQUEST)
    )
    document = json.loads(run("--json", (stream + ABORT).hex()).stdout)
    first, message = document["messages"]
    keys = {*document, *message, *message["elements"][0], *message["violations"][0]}
    keys |= {*first["data_set"][0], *document["other_pdus"][0]}
    for pdu in document["other_pdus"][:2]:
        details = pdu["details"]
        keys |= {*details, *details["presentation_contexts"][0]}
    for key in keys:
        assert f"`{key}`" in text, key
    for form in (module.COMMAND_SET, module.FRAGMENT, module.PDVS, module.PDUS):
        assert f"- **{form}**" in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("options", [[], ["--json"], ["--help"]])
def test_a_full_disk(options):
    """Standard output is a file, more often than not."""
    with open("/dev/full", "w") as full:
        command = [*STRICT_PYTHON, "-m", "nset", "dump", ECHO.hex(), *options]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert result.stderr == "python -m nset: standard output: No space left on device\n"
