"""nset.scp: lengths that lie, and messages that are longer than the limits."""

import pytest
from acceptors import entity, n_set_pdus, one_pdu, until
from associations import INSTANCE, MPPS
from callers import (
    BY_PROVIDER,
    BY_USER,
    DATA,
    ECHO,
    INVALID_PARAMETER,
    RQ,
    UNKNOWN,
    Caller,
    aborted,
    by_provider,
    serving,
    set_answer,
    ways,
)
from command_sets import joined
from durations import Duration
from logs import reasons
from n_set_requests import (
    AFFECTED,
    cut,
    message,
    pdvs,
    request,
    uid,
)
from raw_peer import ABORT, AE_TITLE, COMMAND, LAST, P_DATA_TF, p_data, pdu

# -- Lengths that lie -----------------------------------------------------------------------------

LIES = {
    "P-DATA of 4 GiB": (bytes((4, 0)) + b"\xff" * 4, INVALID_PARAMETER),
    "A-RELEASE-RQ of 4 GiB": (bytes((5, 0)) + b"\xff" * 4, INVALID_PARAMETER),
    "A-ABORT of 4 GiB": (bytes((7, 0)) + b"\xff" * 4, INVALID_PARAMETER),
    "PDV-length beyond the PDU": (pdu(P_DATA_TF, b"\0\0\0\xff\1\3" + request()), None),
    "PDV-length of 4 GiB": (pdu(P_DATA_TF, b"\xff\xff\xff\xff\1\3" + request()), None),
    "PDV-length cut": (pdu(P_DATA_TF, b"\0\0\0"), None),
    "nothing but a PDV-length": (pdu(P_DATA_TF, b"\0\0\0\2"), None),
    "PDV without its header": (pdu(P_DATA_TF, b"\0\0\0\2\1"), None),
    "PDV of 0 bytes": (pdu(P_DATA_TF, bytes(4)), None),
    "PDV of 1 byte": (pdu(P_DATA_TF, b"\0\0\0\1\1"), None),
    "a byte behind the last PDV": (pdu(P_DATA_TF, b"\0\0\0\2\1\1\0"), None),
    "A-ASSOCIATE-RQ of 0 bytes": (pdu(RQ, b""), None),
}


@ways
def test_a_pdu_without_a_pdv(nset, caplog, way):
    """It is ignored, and the first one is logged."""
    empty = pdu(P_DATA_TF, b"")
    with serving(nset, way) as (server, handler), Caller(server).associate() as peer:
        peer.send(empty, p_data((1, COMMAND | LAST, request())), empty, empty)
        peer.send(p_data((1, LAST, DATA)), empty)
        assert peer.answer() == set_answer(7)
        peer.goes_on(nset)
    assert handler.served[0][1] == DATA
    told = [one.getMessage() for one in caplog.records if one.name == "nset"]
    assert told == [f"A P-DATA-TF PDU without a PDV from {AE_TITLE}@{peer.address}"]


@ways
@pytest.mark.parametrize("amid", ["between messages", "amid a data set"])
@pytest.mark.parametrize(("lie", "reason"), LIES.values(), ids=LIES)
def test_lengths_that_lie(nset, caplog, lie, reason, amid, way):
    begun = p_data((1, COMMAND | LAST, request()), (1, 0, DATA)) if amid.startswith("amid") else b""
    with serving(nset, way, entity(MPPS, ECHO)) as (server, handler):
        with Caller(server).associate() as peer:
            peer.send(begun + lie)
            answer = peer.receive()
            assert answer is not None
            assert (answer.type, answer.body[2]) == (ABORT, 2)
            assert answer.body[3] in ((0, INVALID_PARAMETER) if reason is None else (reason,))
            assert peer.receive() is None
        with Caller(server).associate() as other:
            other.goes_on(nset)
    assert [asked.MessageID for asked, _ in handler.served] == [999]
    assert len(reasons(caplog)) == 1
    assert peer.address in reasons(caplog)[0]


@pytest.mark.parametrize(
    "sent",
    [bytes((1, 0)) + b"\xff" * 4, pdu(RQ, b""), pdu(RQ, b"\xff" * 100), b"GET / HTTP/1.1\r\n\r\n"],
    ids=["4 GiB", "empty", "garbage", "HTTP"],
)
def test_no_association_request(nset, caplog, sent):
    """Before there is an association it is the service user that aborts (AA-1)."""
    with serving(nset, []) as (server, _), Caller(server) as peer:
        peer.send(sent)
        peer.is_closed(BY_USER)
    assert len(reasons(caplog)) == 1
    assert peer.address in reasons(caplog)[0]


@ways
def test_pdu_length(nset, scp, way):
    limits = scp.Limits(pdu_length=1000, negotiation_length=500)
    with serving(nset, way, limits=limits) as (server, handler):
        with Caller(server).associate() as peer:
            room = 1000 - 12 - len(request())
            peer.send(one_pdu(request(), bytes(room)))
            assert peer.answer() == set_answer(7)
            peer.send(one_pdu(request(), bytes(room + 1)))
            peer.is_closed(aborted(2, INVALID_PARAMETER))
        with Caller(server) as peer:
            peer.send(pdu(RQ, bytes(501)))
            peer.is_closed(BY_USER)
    assert len(handler.served) == 1


def test_what_comes_behind_an_abort_is_not_kept(nset, caplog):
    """However much it is, others are served meanwhile."""
    resource = pytest.importorskip("resource")
    megabyte, number = bytes(1 << 20), 64
    with serving(nset, []) as (server, _), Caller(server).associate() as other:
        with Caller(server).associate() as peer:
            peer.send(pdu(UNKNOWN, b""))
            peer.is_closed(by_provider(UNKNOWN))
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            slowest = 0.0
            for _ in range(number):
                try:
                    peer.send(megabyte)
                except (ConnectionError, TimeoutError):  # it does not listen any more: as good
                    break
                took = Duration()
                other.send(n_set_pdus(nset))
                assert other.answer() == set_answer(7)
                took.update()
                slowest = max(slowest, took.own)
                if slowest > 0.2:
                    break
            more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        other.release()
    assert len(reasons(caplog)) == 1
    assert more < 16 * 1024  # KiB
    assert slowest < 0.2


# -- Data sets ------------------------------------------------------------------------------------


def packed(how: str, command: bytes, data_set: bytes) -> bytes:
    if how == "one PDU":
        return one_pdu(command, data_set)
    if how == "two PDUs":
        return message(command, data_set)
    parts = [(1, COMMAND | LAST, command), *pdvs(0, cut(data_set, 32))]
    return b"".join(map(p_data, parts))


@ways
@pytest.mark.parametrize("how", ["one PDU", "two PDUs", "many PDUs"])
@pytest.mark.parametrize("begins", ["canonical", "otherwise"])
def test_data_sets_over_the_limit(nset, scp, caplog, way, how, begins):
    """Each is answered in its turn, and the association goes on."""
    changes = {} if begins == "canonical" else AFFECTED
    sent = [
        packed(how, request({0x0110: number, **changes}), bytes(100 + number % 2))
        for number in range(10)
    ]
    limits = scp.Limits(data_set_bytes=100)
    with (
        serving(nset, way, limits=limits) as (server, handler),
        Caller(server).associate() as peer,
    ):
        peer.send(*sent)
        answers = [peer.answer() for _ in sent]
        peer.send(sent[0])
        assert peer.answer() == set_answer(0)
        peer.release()
    assert answers == [set_answer(number, 0x0213 if number % 2 else 0x0000) for number in range(10)]
    assert len(handler.served) == 6
    assert reasons(caplog) == [
        f"Refusing N-SET request {number} from {AE_TITLE}@{peer.address} with status 0x0213: "
        "a data set of more than 100 bytes"
        for number in range(1, 10, 2)
    ]


@ways
@pytest.mark.parametrize("field", [0x0120, 0x0140])
def test_a_command_set_that_does_not_end(nset, caplog, way, field):
    fragments = cut(request({0x0100: field, 0x1002: bytes(60000)}), 1000)[:-1]
    with serving(nset, way) as (server, _), Caller(server).associate() as peer:
        peer.send(*(p_data((1, COMMAND, fragment)) for fragment in fragments))
        (assoc,) = [path.assoc for path in server.connections.connected]
        until(lambda: assoc.path.bytes_received > 60000)
        assert server.counts.open_associations == 1
        peer.send(p_data((1, COMMAND, bytes(6000))))
        peer.is_closed(BY_PROVIDER)
    (reason,) = reasons(caplog)
    assert "a command set of more than 65536 bytes" in reason
    assert peer.address in reason


@ways
def test_a_data_set_over_the_limit_of_another_message(nset, scp, caplog, way):
    fields = {0x0002: uid(MPPS), 0x0100: 0x0140, 0x0110: 2, 0x0800: 1, 0x1000: uid(INSTANCE)}
    limits = scp.Limits(data_set_bytes=100)
    with serving(nset, way, limits=limits) as (server, _), Caller(server).associate() as peer:
        peer.send(one_pdu(joined(fields), bytes(101)))
        peer.is_closed(BY_PROVIDER)
    assert len(reasons(caplog)) == 1
    assert "a data set of more than 100 bytes" in reasons(caplog)[0]
    assert peer.address in reasons(caplog)[0]
