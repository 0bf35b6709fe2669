"""nset.scp: what the log says of associations to those who run the server."""

import re
import threading
from contextlib import ExitStack

import pytest
from acceptors import accepting, connected, entity, is_over, n_set_pdus, port, until
from associations import MPPS, TIMEOUT
from certificates import client_context, make_certificate, server_context
from logs import all_said
from n_set_requests import request
from pynetdicom import evt
from pynetdicom.pdu import A_ABORT_RQ, P_DATA_TF
from pynetdicom.sop_class import Verification
from raw_peer import ABORT, COMMAND, LAST, Peer, associate_rq, p_data, pdu
from services import echo_pdu


@pytest.fixture
def lines(caplog):
    """The lines of the logger `nset` and their levels, with the peer's address as ADDRESS."""
    caplog.set_level("DEBUG", "nset")

    def give(server, peer):
        until(lambda: is_over(server))
        return [
            (
                record.levelname,
                re.sub(r"\d+\.\d s", "SECONDS", said.replace(peer.address, "ADDRESS")),
            )
            for record in caplog.records
            if record.name == "nset" and (said := record.getMessage())
        ]

    return give


ACCEPTED = ("INFO", "Accepted the association with RAW@ADDRESS: 1 of 1 presentation contexts")
ENDED = "The association of RAW@ADDRESS with ANY-SCP has ended: SECONDS, "


def test_an_association_that_is_released(nset, lines):
    ae = entity(MPPS, Verification)
    statuses = iter([0x0000, 0x0107, 0x0000])
    handlers = [(evt.EVT_N_SET, lambda event: (next(statuses), None))]
    with accepting(nset, handlers, ae) as server:
        with Peer(port(server), MPPS) as peer:
            for number, length in ((1, 0), (2, 64), (3, 0)):
                peer.send(n_set_pdus(nset, number, length))
                peer.receive_message()
            (assoc,) = [path.assoc for path in server.connections.connected]
            peer.release()
        assert lines(server, peer) == [
            ACCEPTED,
            (
                "INFO",
                f"{ENDED}N-SET 3 (2 Success, 1 Warning), {assoc.path.bytes_received} bytes "
                f"received, {assoc.path.all_bytes_sent} sent, released",
            ),
        ]


def test_an_association_of_another_service(nset, lines):
    with accepting(nset, None, entity(Verification)) as server:
        with Peer(port(server), Verification) as peer:
            peer.send(echo_pdu())
            peer.receive_message()
            peer.release()
        assert "C-ECHO 1 (1 Success)" in lines(server, peer)[-1][1]


def test_an_association_that_the_peer_aborts(nset, lines):
    with accepting(nset) as server:
        with Peer(port(server), MPPS) as peer:
            peer.send(pdu(ABORT, bytes(4)))
            assert peer.receive() is None
        first, last = lines(server, peer)
        assert first == ACCEPTED
        assert last[1].startswith(f"{ENDED}no requests, ")
        assert last[1].endswith(", aborted (peer)")


@pytest.mark.parametrize("path", ["fast", "in fragments", "command set", "PDU"])
def test_a_connection_that_is_lost_amid_a_message(nset, lines, path):
    with accepting(nset) as server:
        with Peer(port(server), MPPS) as peer:
            sent = n_set_pdus(nset, 7, 64 if path == "in fragments" else 0)
            at = 6 + int.from_bytes(sent[2:6], "big")
            if path == "in fragments":
                at = sent.rindex(b"\x04\0", 0, -6)
            at = {"command set": 70, "PDU": 20}.get(path, at)
            peer.send(sent[:at])
            until(lambda: sum(path.bytes_received for path in server.connections.connected) >= at)
        said = lines(server, peer)
    (level, line) = said[1]
    assert level == "WARNING"
    known = "its Message ID is not known" if path in ("command set", "PDU") else "Message ID 7"
    assert line.startswith(f"Lost the connection with RAW@ADDRESS within a message: {known}, ")
    assert said[2][1].endswith("aborted (connection)")


@pytest.mark.parametrize("is_aborted", [False, True], ids=["lost", "aborted"])
def test_a_connection_that_is_closed_while_a_program_observes_a_pdu(
    nset, lines, certificates, is_aborted
):
    """It is lost within the message of that PDU, unless the server has aborted the association.

    With TLS by uvloop: any other connection is not read meanwhile, and its end not seen.
    """
    pytest.importorskip("uvloop", reason="nset[scp] has it where it can be")
    own, _ = certificates
    context, is_closed = client_context(own), threading.Event()

    def observe(event):
        if isinstance(event.pdu, A_ABORT_RQ if is_aborted else P_DATA_TF):
            assert is_closed.wait(TIMEOUT)

    bound = [(evt.EVT_PDU_SENT if is_aborted else evt.EVT_PDU_RECV, observe)]
    with accepting(nset, bound, ssl_context=server_context(own)) as server:
        with Peer(port(server), MPPS, context=context) as peer:
            sent = p_data((1, COMMAND | LAST, request()), (1, 0, b"12"))
            if is_aborted:
                peer.send(sent, p_data((1, COMMAND | LAST, request())))
                assert peer.receive().type == ABORT
            else:
                peer.send(sent)
                (path,) = server.connections.connected
                until(lambda: path.bytes_received >= len(associate_rq(MPPS)) + len(sent))
        until(lambda: server.counts.open_connections == 0)
        is_closed.set()
        said = [line for _, line in lines(server, peer)]
    told = [line for line in said if "within a message" in line]
    name = f"RAW@ADDRESS within a message: Message ID 7, {len(request()) + 2} bytes so far"
    assert told == ([] if is_aborted else [f"Lost the connection with {name}"])


def test_looking_at_a_request_that_comes_tells_nothing_of_it(nset, scp, lines, caplog):
    """What is to be said of its command set is said when that is decoded, once."""
    command = request() + bytes(2)
    sent = [p_data((1, COMMAND, command[:20])), p_data((1, COMMAND | LAST, command[20:]))]
    limits = scp.Limits(data_set_bytes=100)
    with accepting(nset, None, limits=limits) as server:
        with Peer(port(server), MPPS) as peer:
            peer.send(*sent, p_data((1, LAST, bytes(101))))
            assert peer.receive_message()[0].Status == 0x0213
            peer.send(*sent, p_data((1, 0, bytes(10))))
            (assoc,) = [path.assoc for path in server.connections.connected]
            until(lambda: assoc.progress() == (7, len(command) + 10))
        said = [line for _, line in lines(server, peer)]
    assert any("within a message: Message ID 7, " in line for line in said)
    assert "N-SET command set" not in caplog.text


def test_a_peer_that_only_connects(nset, security, caplog):
    options, _ = security
    caplog.set_level("DEBUG", "nset")
    with accepting(nset, **options) as server:
        with connected(server) as peer:
            name = "{}:{}".format(*peer.getsockname())
        until(lambda: f"{name} connected, sent nothing and disconnected" in caplog.text)
        until(lambda: is_over(server))
    assert [record.levelname for record in caplog.records if record.name == "nset"] == ["DEBUG"]


def test_a_peer_that_goes_amid_its_handshake(nset, caplog, tmp_path):
    certificate = make_certificate(tmp_path, "server")
    with accepting(nset, ssl_context=server_context(certificate)) as server:
        with connected(server) as peer:
            peer.sendall(b"\x16\x03\x01")
            name = "{}:{}".format(*peer.getsockname())
        until(lambda: name in caplog.text)
    (line,) = all_said(caplog)
    assert re.fullmatch(rf"The TLS handshake with {name} failed: \w+", line)


REJECTIONS = {
    "called": ("it calls ANY-SCP, not PACS (AE.require_called_aet)", "require_called_aet", True),
    "calling": (
        "its AE title is not among AE.require_calling_aet",
        "require_calling_aet",
        ["OTHER"],
    ),
    "number": ("1 associations already (AE.maximum_associations)", "maximum_associations", 1),
}


@pytest.mark.parametrize("why", REJECTIONS)
def test_a_rejection(nset, lines, why):
    reason, name, value = REJECTIONS[why]
    ae = entity()
    ae.ae_title = "PACS"
    if why == "number":
        ae.maximum_associations = 1
    with accepting(nset, None, ae) as server, ExitStack() as stack:
        if why == "number":
            stack.enter_context(Peer(port(server), MPPS))
        else:
            setattr(ae, name, value)
        with connected(server) as peer:
            address = "{}:{}".format(*peer.getsockname())
            peer.sendall(associate_rq(MPPS))
            assert peer.recv(1) == b"\x03"
        until(lambda: len(server._associations) == (why == "number"))
        said = [record for record in caplog_of(lines) if address in record.getMessage()]
    first, last = said
    assert (first.levelname, first.getMessage()) == (
        "WARNING",
        f"Rejecting the association with RAW@{address}: {reason}",
    )
    assert last.getMessage().endswith("rejected")


def caplog_of(lines):
    return [
        record for record in lines.__closure__[0].cell_contents.records if record.name == "nset"
    ]


def test_what_a_peer_calls_itself_forges_no_line(nset, caplog):
    caplog.set_level("DEBUG", "nset")
    sent = associate_rq(MPPS).replace(b"RAW   ", b"R\x1b[2K\n")
    with accepting(nset) as server, connected(server) as peer:
        peer.sendall(sent)
        peer.recv(1000)
        peer.close()
        until(lambda: is_over(server))
    assert all(
        record.getMessage().isprintable() for record in caplog.records if record.name == "nset"
    )


@pytest.mark.parametrize("why", ["idle", "shutdown", "program"])
def test_an_abort_says_why(nset, lines, why):
    ae = entity()
    ae.network_timeout = 0.2 if why == "idle" else TIMEOUT
    with accepting(nset, None, ae) as server, Peer(port(server), MPPS) as peer:
        if why == "program":
            server.active_associations[0].abort()
        elif why == "shutdown":
            server.shutdown(timeout=0)
        while (item := peer.receive()) is not None:
            assert item.type == ABORT
        peer.socket.close()
        said = lines(server, peer)
    level, reason = {
        "idle": ("WARNING", "nothing for SECONDS (AE.network_timeout)"),
        "shutdown": ("WARNING", "the server is shut down"),
        "program": ("INFO", "the program does"),
    }[why]
    assert (level, f"Aborting the association with RAW@ADDRESS: {reason}") in said
    name = {"program": "local"}.get(why, why)
    assert said[-1][1].endswith(f"aborted ({name})")
