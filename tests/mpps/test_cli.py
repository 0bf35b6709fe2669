"""``nset mpps``, as a program: it serves, and its store can be looked into."""

import base64
import importlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress

import psutil
import pytest
from acceptors import until
from associations import TIMEOUT
from certificates import client_context, make_certificate
from click.testing import CliRunner
from mpps_peers import ROOT, Modality, Subscriber, Workstation, encoded
from mpps_table import modifications, whole
from pydicom.uid import ExplicitVRLittleEndian
from raw_peer import Peer, associate_rq
from strict_python import STRICT_PYTHON

UID = f"{ROOT}.1"


@contextmanager
def running(*arguments, store="sqlite:///mpps.sqlite", cwd=None, python=STRICT_PYTHON):
    """Run ``nset mpps`` at a free port; give that, and the process."""
    command = [*python, "-m", "nset", "mpps", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, "--store", store, *arguments], stderr=subprocess.PIPE, text=True, cwd=cwd
    )
    try:
        line = process.stderr.readline()
        while "Serving" not in line:
            assert line, "it has ended"
            line = process.stderr.readline()
        yield int(re.search(r"127\.0\.0\.1:(\d+)", line)[1]), process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def run(nset, url, monkeypatch):
    """Run a command in this process; give what it prints."""
    main = importlib.import_module("nset.cli").main
    monkeypatch.setenv("NSET_MPPS_STORE", url)

    def run(*arguments, status=0):
        result = CliRunner().invoke(main, ["mpps", *arguments], catch_exceptions=False)
        assert result.exit_code == status, result.output
        return result.output

    return run


def completed():
    step = modifications(whole())
    step.PerformedProcedureStepStatus = "COMPLETED"
    return step


def test_serve_list_show_export(run, url, tmp_path):
    with running(store=url, cwd=tmp_path) as (port, process):
        with Modality(port) as modality, Workstation(port) as workstation:
            assert modality.create(UID, whole()).Status == 0x0000
            assert modality.set(UID, completed()).Status == 0x0000
            assert modality.create(f"{ROOT}.2", whole()).Status == 0x0000
            assert workstation.get(UID)[1].PerformedProcedureStepStatus == "COMPLETED"
            modality.release()
            workstation.release()
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=6 * TIMEOUT)
        assert process.returncode == 0, log
        assert "N-SET 1 (1 Success)" in log
        assert "N-CREATE 2 (2 Success)" in log
    heading, second, first = run("list").splitlines()
    assert " ".join(heading.split()) == (
        "status patient ID accession no. station modality started ended SOP Instance UID"
    )
    assert first.split() == ["COMPLETED", *"1111", "20261127101530", "20261127101530", UID]
    assert second.split()[:2] == ["IN", "PROGRESS"]
    assert [line.split()[-1] for line in run("list", "--status", "completed").splitlines()[1:]] == [
        UID
    ]
    assert run("list", "--patient-id", "nobody") == "There are no such steps.\n"
    shown = run("show", UID)
    assert shown.startswith(f"{UID}: COMPLETED\n1. N-CREATE, ")
    assert "\n2. N-SET, " in shown
    assert "(0010,0020) Patient ID                          LO: '1'" in shown
    exported = [json.loads(line) for line in run("export", "--json").splitlines()]
    assert [step["uid"] for step in exported] == [f"{ROOT}.2", UID]
    assert exported[1]["status"] == "COMPLETED"
    assert exported[1]["attributes"]["00100020"] == {"vr": "LO", "Value": ["1"]}
    assert run("show", "1.2", status=1) == "Error: There is no step 1.2.\n"


ODD = "\x1b[2J\u202e\u3000é"
SHOWN = "\\x1b[2J\\u202e\u3000é"


def test_no_peer_controls_a_terminal(run, url, tmp_path):
    """Neither by the log nor by what is listed; and no line of the log is one that a peer sent."""
    uid, step = "1.2\n3\x1b[m", whole()
    step.SpecificCharacterSet = "ISO_IR 192"
    step.PatientID, step.StudyID = ODD, ODD
    lenient = [sys.executable, "-W", "default"]  # of such a UID, pydicom warns
    with running(store=url, cwd=tmp_path, python=lenient) as (port, process):
        with Modality(port) as modality:
            assert modality.create(uid, step).Status == 0x0000
            assert modality.create(uid, whole()).Status == 0x0111
            modality.release()
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=6 * TIMEOUT)
    assert "UserWarning: Invalid value for VR UI" in log
    assert all(re.match("[0-9]{4}-[0-9]{2}-", line) for line in log.splitlines())
    assert "N-CREATE of 1.2\\n3\\x1b[m by RAW@127.0.0.1 refused" in log
    printed = [*log.splitlines(), *run("list").splitlines(), *run("show", uid).splitlines()]
    assert not any(char in line for line in printed for char in "\x1b\u202e")
    _, listed = run("list").splitlines()
    assert SHOWN in listed
    assert "1.2\\n3\\x1b[m" in listed
    assert run("show", uid).startswith("1.2\\n3\\x1b[m: IN PROGRESS\n")


@pytest.mark.filterwarnings("ignore:The value length")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_long_value_does_not_hide_others(run, serving):
    step = whole()
    step.PatientID = "P" * 64
    long = encoded(step)
    header = struct.Struct("<HHI").pack
    longer = long.replace(
        header(0x10, 0x20, 64) + b"P" * 64, header(0x10, 0x20, 20000) + b"Q" * 20000
    )
    with serving() as served, Modality(served.port) as modality:
        assert modality.create(UID, long).Status == 0x0000
        assert modality.create(f"{ROOT}.2", longer).Status == 0x0000
    second, first = run("list").splitlines()[1:]
    assert first.split()[2:4] == ["P" * 64, "1"]
    assert second.split()[2:4] == ["Q" * 63 + "…", "1"]
    assert [line.split()[-1] for line in (first, second)] == [UID, f"{ROOT}.2"]


def test_values_that_are_none_of_their_vr(run, serving):
    """They are shown and exported as they came, and so are those beside them."""
    step = whole()
    step.DiffusionBValue = float("nan")
    data = encoded(step, ExplicitVRLittleEndian)
    for tag, vr, value in (
        (0x00541321, b"DS", b"a.b.c "),  # Decay Factor
        (0x00541330, b"US", b"1"),  # Image Index
        (0x30060022, b"IS", b"zz"),  # ROI Number
    ):
        data += struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value
    with serving() as served, Modality(served.port, ExplicitVRLittleEndian) as modality:
        assert modality.create(UID, data).Status == 0x0000
    (line,) = run("export", "--json").splitlines()
    exported = json.loads(line, parse_constant=pytest.fail)["attributes"]
    assert exported["00100020"] == {"vr": "LO", "Value": ["1"]}
    not_a_number = struct.pack("<d", float("nan"))
    for tag, value in {
        "00189087": not_a_number,
        "00541321": b"a.b.c ",
        "00541330": b"1",
        "30060022": b"zz",
    }.items():
        binary = base64.b64encode(value).decode()
        assert exported[tag] == {"vr": "UN", "InlineBinary": binary}
    for arguments in (["list", "--patient-id", "\udcff"], ["show", "\udcff"]):
        assert "Error: 'utf-8' codec can't encode" in run(*arguments, status=1)
    shown = run("show", UID)
    assert "(0010,0020) Patient ID                          LO: '1'" in shown
    assert "(3006,0022) ROI Number                          UN: b'zz'" in shown


ERRORS = [
    (["here"], 2, "an address is [HOST]:PORT"),
    ([":0", "--notify", "RIS@host"], 2, "a subscriber is TITLE@HOST:PORT, and not 'RIS@host'"),
    ([":0", "--tls-key", __file__], 2, "TLS needs --tls-certificate"),
    (
        ["list", "--store", "sqlite:///none"],
        1,
        "Error: sqlite:///none: unable to open database file",
    ),
    ([":65536"], 2, "an address is [HOST]:PORT"),
    ([":²"], 2, "an address is [HOST]:PORT"),
    ([":0", "--metrics", "65536"], 2, "Invalid value for --metrics: an address is [HOST]:PORT"),
    ([":0", "--ae-title", "A_TITLE_OF_17_CHA"], 2, "Invalid value for --ae-title: "),
    ([":0", "--ae-title", ""], 2, "Invalid value for --ae-title: "),
    ([":0", "--tls-certificate", __file__], 2, "Invalid value for --tls-certificate: "),
    ([":0", "--tls-certificate", "."], 2, "Invalid value for --tls-certificate: "),
    ([":0", "--proxy-protocol", "here"], 1, "Error: 'here' does not appear to be"),
    (["list", "--since", "yesterday"], 2, "Invalid value for --since: "),
    (["list", "--store", "sqlite:///\udcff"], 1, "Error: 'utf-8' codec can't encode"),
    (["--store", "other"], 1, "Error: other: a store is sqlite:///FILE or postgresql://..."),
]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("arguments", "status", "words"), ERRORS)
def test_errors(run, monkeypatch, tmp_path, arguments, status, words):
    monkeypatch.chdir(tmp_path)
    assert words in run(*arguments, status=status)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("option", ["--processes", "--metrics"])
def test_what_needs_processes_that_are_forked(run, monkeypatch, option):
    monkeypatch.delattr(os, "fork", raising=False)
    words = "cannot fork processes, which --processes and --metrics need"
    assert words in run(":0", option, "2", status=2)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_an_address_in_use(run):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = "{}:{}".format(*other.getsockname())
        assert address in run(address, status=1)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_help(run):
    for arguments in (["--help"], ["serve", "--help"], ["list", "--help"], ["export", "--help"]):
        assert run(*arguments).startswith("Usage: ")


def test_tls_with_certificates_of_clients(nset, tmp_path):
    server, client = (make_certificate(tmp_path, name) for name in ("server", "client"))
    options = ["--tls-certificate", server.certificate, "--tls-key", server.key]
    with running(*options, "--tls-ca", client.certificate, cwd=tmp_path) as (port, _):
        with Peer(port, "1.2.840.10008.1.1", context=client_context(server, client)) as peer:
            peer.release()
        answer = b""
        with (
            socket.create_connection(("127.0.0.1", port), TIMEOUT) as bare,
            client_context(server).wrap_socket(bare, server_hostname="localhost") as stranger,
            suppress(ssl.SSLError, ConnectionError),
        ):
            stranger.sendall(associate_rq("1.2.840.10008.1.1"))
            answer = stranger.recv(1)
        assert answer == b""


def test_the_program(nset):
    """It is installed, too."""
    program = shutil.which("nset", path=os.path.dirname(sys.executable))
    assert program
    ran = subprocess.run([program, "mpps", "list", "--help"], capture_output=True, text=True)
    assert ran.stdout.startswith("Usage: nset mpps list ")


def test_subscribers_are_notified(nset, tmp_path):
    """By the next server, if the first one was killed before they could be."""
    ris = Subscriber()
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))  # nobody listens there yet
        at = held.getsockname()
        options = ["--notify", f"RIS@127.0.0.1:{at[1]}", "--ae-title", "MPPS", "--processes", "2"]
        with running(*options, cwd=tmp_path) as (port, process):
            with Modality(port) as modality:
                assert modality.create(UID, whole()).Status == 0x0000
                assert modality.set(UID, completed()).Status == 0x0000
            process.kill()
        with ris.listening(at), running(*options, cwd=tmp_path) as (port, process):
            with Modality(port) as modality:
                assert modality.create(f"{ROOT}.2", whole()).Status == 0x0000
                modality.release()
            ris.until_told((1, 1), (1, 2), (2, 1))
            process.send_signal(signal.SIGTERM)
            assert process.wait(6 * TIMEOUT) == 0
    assert set(ris.associations) == {("MPPS", "RIS")}


def fetched(port, path):
    """The status and the text that an HTTP server answers with."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""
    except OSError:  # it has not begun to listen
        return 0, ""


def test_metrics_health_checks_and_json_logs(nset, tmp_path):
    with socket.socket() as held:  # so that no other program takes the port meanwhile
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        number = held.getsockname()[1]
        options = ["--metrics", str(number), "--log-format", "json", "--processes", "2"]
        with running(*options, cwd=tmp_path) as (port, process):
            with Modality(port) as modality:
                assert modality.create(UID, whole()).Status == 0x0000
                step = whole()
                del step.PatientSex
                assert modality.create(f"{ROOT}.2", step).Status == 0x0000
                modality.release()
            until(lambda: fetched(number, "/readyz")[0] == 200, seconds=6 * TIMEOUT)
            assert fetched(number, "/healthz")[0] == 200
            until(
                lambda: re.search(r'service="N-CREATE".*Success', fetched(number, "/metrics")[1]),
                seconds=6 * TIMEOUT,
            )
            (tmp_path / "mpps.sqlite").rename(tmp_path / "moved")
            until(lambda: fetched(number, "/readyz")[0] == 503, seconds=6 * TIMEOUT)
            (tmp_path / "moved").rename(tmp_path / "mpps.sqlite")
            until(lambda: fetched(number, "/readyz")[0] == 200, seconds=6 * TIMEOUT)
            process.terminate()
            records = [
                json.loads(line)
                for line in process.communicate(timeout=6 * TIMEOUT)[1].splitlines()
            ]
    assert {record["calling_ae_title"] for record in records if "peer" in record} == {"RAW"}
    (excused,) = [record for record in records if record["message"].endswith("Sex is missing")]
    assert (excused["service"], excused["sop_instance_uid"]) == ("N-CREATE", f"{ROOT}.2")
    assert (excused["peer"], excused["called_ae_title"]) == ("127.0.0.1", "ANY-SCP")
    assert excused["status"] == 0x0000


def test_health_of_several_processes(nset, tmp_path):
    """One that hangs is seen; and one that shuts down is healthy, but not ready."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        number = held.getsockname()[1]

        def becomes(healthy, ready):
            until(
                lambda: (
                    (fetched(number, "/healthz")[0], fetched(number, "/readyz")[0])
                    == (healthy, ready)
                ),
                seconds=6 * TIMEOUT,
            )

        options = ["--metrics", str(number), "--processes", "2"]
        with running(*options, cwd=tmp_path) as (port, process):
            becomes(200, 200)
            first, second, _ = psutil.Process(process.pid).children()
            first.suspend()
            becomes(503, 200)
            first.kill()
            becomes(200, 200)
            second.suspend()
            becomes(503, 200)
            second.resume()
            becomes(200, 200)
            with Modality(port):
                process.terminate()
                becomes(200, 503)


def test_what_is_not_excused_and_what_is_too_long(nset, tmp_path):
    step = whole()
    del step.PatientSex
    options = ["--strict", "--max-data-set", "1"]
    with running(*options, cwd=tmp_path) as (port, _), Modality(port) as modality:
        assert modality.create(UID, step).Status == 0x0120
        assert modality.create(UID, whole()).Status == 0x0000
        assert modality.set(UID, bytes((1 << 20) + 2)).Status == 0x0213
        assert modality.set(UID, completed()).Status == 0x0000
