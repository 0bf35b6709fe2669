"""examples/: each does what it says, for real clients."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest
from acceptors import entity, n_set_pdus, until
from associations import INSTANCE, MPPS, TIMEOUT, completed
from certificates import make_certificate
from paths import REPOSITORY
from postgresql import cluster
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import evt, sop_class
from raw_peer import Peer, associate_rq

LOCAL = ("127.0.0.1", 0)


def data_set(**elements):
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def begun():
    return data_set(
        PerformedProcedureStepStatus="IN PROGRESS",
        PerformedProcedureStepID="1",
        ScheduledStepAttributesSequence=[Dataset()],
    )


def test_drop_in(environment):
    path = REPOSITORY / "examples/drop_in.py"
    done = subprocess.run(
        [sys.executable, path], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{INSTANCE}: COMPLETED\n0x0000, 1 attribute\n"


def test_mpps(example, associated):
    with example("mpps").server(LOCAL, block=False) as server, associated(server, MPPS) as assoc:

        def create(step, uid=INSTANCE):
            return assoc.send_n_create(step, MPPS, uid)[0]

        def change(**changes):
            return assoc.send_n_set(data_set(**changes), MPPS, INSTANCE)[0]

        assert change(PerformedProcedureStepID="2").Status == 0x0112
        assert create(data_set(PerformedProcedureStepID="1")).Status == 0x0121
        assert create(begun(), None).Status == 0x0117
        ended = begun()
        ended.PerformedProcedureStepStatus = "COMPLETED"
        assert create(ended).Status == 0x0106
        assert create(begun()).Status == 0x0000
        assert create(begun()).Status == 0x0111
        assert change(PerformedProcedureStepStatus="COMPLETED").Status == 0x0000
        final = change(PerformedProcedureStepStatus="DISCONTINUED")
        assert (final.Status, final.ErrorID) == (0x0110, 0xA710)
        assert final.ErrorComment == "The step is COMPLETED"


def test_ups(example, associated):
    pull, push = sop_class.UnifiedProcedureStepPull, sop_class.UnifiedProcedureStepPush
    watch, watched = sop_class.UnifiedProcedureStepWatch, []

    def hear(event):
        watched.append((event.event_type, event.event_information.ProcedureStepState))
        return 0x0000, None

    watcher = entity()
    roles = {"scu_role": True, "scp_role": True}
    watcher.add_supported_context(sop_class.UnifiedProcedureStepEvent, **roles)
    heard = watcher.start_server(LOCAL, False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, hear)])
    ups = example("ups")
    ups.subscribers["WATCHER"] = heard.server_address
    try:
        with (
            ups.server(LOCAL, block=False) as server,
            associated(server, push, pull, watch) as assoc,
        ):

            def act(kind, **information):
                asked, meta = data_set(**information), watch if kind == 3 else pull
                return assoc.send_n_action(asked, kind, push, INSTANCE, meta_uid=meta)[0].Status

            def change(**changes):
                changed = data_set(**changes)
                return assoc.send_n_set(changed, push, INSTANCE, meta_uid=pull)[0].Status

            assert act(1, ProcedureStepState="IN PROGRESS") == 0xC307
            step = data_set(ProcedureStepState="SCHEDULED", ProcedureStepLabel="CT")
            begun = data_set(ProcedureStepState="IN PROGRESS")
            assert assoc.send_n_create(step, push)[0].Status == 0x0117
            assert assoc.send_n_create(begun, push, INSTANCE)[0].Status == 0xC309
            assert assoc.send_n_create(step, push, INSTANCE)[0].Status == 0x0000
            assert assoc.send_n_create(step, push, INSTANCE)[0].Status == 0x0111
            assert act(3, ReceivingAE="UNKNOWN", DeletionLock="FALSE") == 0xC308
            assert act(3, ReceivingAE="WATCHER", DeletionLock="FALSE") == 0x0000
            mine, other = generate_uid(), generate_uid()
            assert act(1, ProcedureStepState="IN PROGRESS", TransactionUID=mine) == 0x0000
            assert act(1, ProcedureStepState="COMPLETED", TransactionUID=other) == 0xC301
            assert change(TransactionUID=mine, ProcedureStepLabel="CT chest") == 0x0000
            assert change(TransactionUID=other, ProcedureStepLabel="MR") == 0xC301
            assert act(1, ProcedureStepState="SCHEDULED", TransactionUID=mine) == 0xC314
            assert act(1, ProcedureStepState="COMPLETED", TransactionUID=mine) == 0x0000
            assert change(TransactionUID=mine, ProcedureStepLabel="MR") == 0xC300
            assert act(9, TransactionUID=mine) == 0x0123
        assert ups.steps[INSTANCE].ProcedureStepLabel == "CT chest"
        assert watched == [(1, "IN PROGRESS"), (1, "COMPLETED")]
    finally:
        heard.shutdown()


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_printing(example, associated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    meta = sop_class.BasicGrayscalePrintManagementMeta
    session, film = sop_class.BasicFilmSession, sop_class.BasicFilmBox
    box = sop_class.BasicGrayscaleImageBox
    with example("printing").server(LOCAL, False) as server, associated(server, meta) as assoc:

        def create(kind, uid=None, **attributes):
            return assoc.send_n_create(data_set(**attributes), kind, uid, meta_uid=meta)

        def set_image(uid):
            image = data_set(Rows=2, Columns=3, BitsAllocated=8, PixelData=b"pixels")
            changes = data_set(ImageBoxPosition=1, BasicGrayscaleImageSequence=[image])
            return assoc.send_n_set(changes, box, uid, meta_uid=meta)[0].Status

        def print_film():
            return assoc.send_n_action(None, 1, film, film_uid, meta_uid=meta)[0].Status

        assert create(session, INSTANCE, NumberOfCopies=1)[0].Status == 0x0000
        assert create(film, ImageDisplayFormat=r"STANDARD\2,2")[0].Status == 0x0106
        assert create(film, "../1.2", ImageDisplayFormat=r"STANDARD\1,1")[0].Status == 0x0117
        film_uid = f"{INSTANCE}.1"
        status, made = create(film, film_uid, ImageDisplayFormat=r"STANDARD\1,1")
        assert status.Status == 0x0000
        assert print_film() == 0xB603
        assert set_image(INSTANCE) == 0x0112
        assert set_image(made.ReferencedImageBoxSequence[0].ReferencedSOPInstanceUID) == 0x0000
        assert print_film() == 0x0000
        assert assoc.send_n_delete(film, film_uid, meta_uid=meta).Status == 0x0000
        assert print_film() == 0xB603
        assert create(film, ImageDisplayFormat=r"STANDARD\1,1")[0].Status == 0x0000
        assert assoc.send_n_delete(session, INSTANCE, meta_uid=meta).Status == 0x0000
    assert (tmp_path / f"{film_uid}-3x2.raw").read_bytes() == b"pixels"


def test_tls(example, tmp_path, capsys):
    ours, theirs = make_certificate(tmp_path, "server"), make_certificate(tmp_path, "client")
    tls = example("tls")
    with tls.server(*ours, theirs.certificate, LOCAL, block=False) as server:
        where = "127.0.0.1", server.server_address[1]
        answer = tls.report(*theirs, ours.certificate, *where, INSTANCE, completed())
        assert answer.Status == 0x0000
        with pytest.raises(ConnectionError):  # by a certificate that the server does not trust
            tls.report(*ours, ours.certificate, *where, INSTANCE, completed())
    assert capsys.readouterr().out == f"CT_4 reports {INSTANCE}\n"


def test_no_example_needs_what_is_private():
    """And the one with all of it has 30 lines at most."""
    paths = sorted((REPOSITORY / "examples").glob("*.py"))
    assert len(paths) == 7
    for path in paths:
        assert not re.search(r"\b_[a-z]|\._", path.read_text("utf-8").replace("__", "")), path
    (whole,) = [path for path in paths if path.stem == "processes"]
    text = whole.read_text("utf-8")
    assert len([line for line in text.splitlines() if line.strip()]) <= 30
    for part in ("scp.run(", "metrics=True", "proxy_protocol", "StatusError("):
        assert part in text


# -- Several processes -----------------------------------------------------------------------------

# It says at which ports they are.
PROGRAM = """
import json, os, runpy, sys
main = runpy.run_path(sys.argv[1])["main"]
from nset.scp import metrics

def say(**port):
    os.write(1, json.dumps(port).encode() + b"\\n")

class HttpServer(metrics.HttpServer):
    def serve_forever(self):
        say(http=self.server_address[1])
        super().serve_forever()

metrics.HttpServer = HttpServer
local, started = ("127.0.0.1", 0), lambda processes: say(dicom=processes.server_address[1])
main(local, local, ["127.0.0.1"], processes=2, started=started)
"""


class Proxied(Peer):
    """A modality behind a load balancer."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.socket.sendall(b"PROXY TCP4 10.0.0.4 10.0.0.5 1042 104\r\n" + associate_rq(MPPS))
        assert self.receive().type == 0x02


def ports_of(process):
    ports = {}
    while len(ports) < 2:
        line = process.stdout.readline()
        assert line, "it has ended"
        ports |= json.loads(line)
    return ports["dicom"], ports["http"]


def page(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT) as response:
        return response.read().decode()


@pytest.mark.skipif(sys.platform == "win32", reason="nset.scp.run forks")
def test_processes(nset, environment, tmp_path):
    command = [sys.executable, "-c", PROGRAM, REPOSITORY / "examples/processes.py"]
    counts = [
        f'nset_requests_total{{service="N-SET",sop_class="{MPPS}",status="{status}"}} {count}'
        for status, count in (("Success", 1.0), ("Failure", 2.0))
    ]
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            dicom, http = ports_of(process)
            path = n_set_pdus(nset).replace(INSTANCE.encode(), b"../" + INSTANCE[3:].encode())
            sent = (n_set_pdus(nset), 0x0000), (n_set_pdus(nset), 0x0110), (path, 0x0117)
            for request, expected in sent:
                with Proxied(dicom) as peer:
                    peer.send(request)
                    assert peer.receive_message()[0].Status == expected
                    peer.release()
            assert page(http, "/readyz") == "ok\n"
            # Each process publishes its counts now and then.
            until(lambda: all(count in page(http, "/metrics") for count in counts))
            assert re.search(r"^nset_processes 2\.0$", page(http, "/metrics"), re.MULTILINE)
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 0
    (report,) = (tmp_path / "reports").iterdir()
    assert report.name == f"{INSTANCE}.dcm"


# -- PostgreSQL ------------------------------------------------------------------------------------


@pytest.mark.peers
def test_async_postgresql(example, associated):
    servers, has_started = [], threading.Event()

    def started(server):
        servers.append(server)
        has_started.set()

    with cluster() as database:
        main = example("async_postgresql").main(database.url("public"), LOCAL, started)
        thread = threading.Thread(target=asyncio.run, args=(main,))
        thread.start()
        try:
            assert has_started.wait(TIMEOUT)
            with associated(servers[0], MPPS) as assoc:

                def create():
                    return assoc.send_n_create(begun(), MPPS, INSTANCE)[0].Status

                def change():
                    return assoc.send_n_set(completed(), MPPS, INSTANCE)[0].Status

                assert (change(), create(), create()) == (0x0112, 0x0000, 0x0111)
                assert (change(), change()) == (0x0000, 0x0112)
        finally:
            for server in servers:
                server.stop()
            thread.join(TIMEOUT)
        assert not thread.is_alive()
