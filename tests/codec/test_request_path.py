"""The fast path of both implementations: which requests and answers it handles."""

from types import SimpleNamespace

import pytest
from acceptors import one_pdu
from associations import MPPS
from command_sets import joined
from cores import LIMITS, twins
from n_set_requests import DATA, request_of, uid
from raw_peer import COMMAND, LAST, p_data, pdu

LEFT = ("request_received", "pdu_received", "fault_received", "responded", "pause", "resume")
"""What the path leaves to the association and its flow control."""


class Service:
    statuses = {0x0000: ("Success", ""), 0x0110: ("Failure", "")}  # noqa: RUF012


def path_of(twin, function):
    """A path with nothing to do, whose handler is called in the loop; and what it has done."""
    done = []

    class Path(twin.module.FastPath):
        def failed(self, event, exc):
            done.append("failed")
            return 0x0110, None

        def respond_slowly(self, event, service, answer):
            done.append("respond_slowly")

        def encoded(self, event, service, code, data_set):
            return data_set if data_set == b"encoded" else None

        def refuse(self, event):
            done.append("refuse")

        def log_echo(self, event):
            done.append("log_echo")

        def begin_concurrent(self):
            done.append("begin_concurrent")
            return True

        def end_concurrent(self, event):
            done.append("end_concurrent")

    def leave(name):
        return lambda *args: done.append(name)

    def handle(event):
        done.append(f"handler {event.request.MessageID}")
        return function(path)

    path = Path(*LIMITS, twin.events)
    path.handlers = ((handle, (), twin.nset.scp._rules.IN_LOOP),) * 7
    path.contexts, path.service_classes = {1: "context"}, ({MPPS.encode(): Service},) * 7
    path.pending, path.outbox, path.user_queue = [], [], []
    path.assoc = SimpleNamespace(**{name: leave(name) for name in LEFT})
    path.assoc.flow = path.assoc
    path.write = lambda pdu: done.append("sent")
    path.send_message = leave("send_message")
    path.is_logged = lambda level: False
    path.in_data_transfer = True
    return path, done


def sent(message_id=7):
    return one_pdu(request_of(message_id), DATA)


def succeed(path):
    return 0x0000, None


@twins
def test_a_request_that_finds_nothing_else_to_do(twin):
    path, done = path_of(twin, succeed)
    path.data_received(sent(7) + sent(8))
    assert done == ["handler 7", "sent", "handler 8", "sent"]
    assert path.response_counts == {("N-SET", 0x0000): 2}
    assert not path.is_busy


@twins
def test_an_answer_is_counted_before_it_is_sent(twin):
    """A peer that has the answer finds it in the server's counts."""
    path, _ = path_of(twin, succeed)
    counted = []
    path.write = lambda pdu: counted.append(
        (dict(path.response_counts), path.bytes_sent == len(pdu))
    )
    path.data_received(sent())
    assert counted == [({("N-SET", 0x0000): 1}, True)]


def put(name, value):
    return lambda path: setattr(path, name, value)


@twins
@pytest.mark.parametrize(
    "change",
    [
        put("is_busy", True),
        put("is_mid_message", True),
        put("pending", [(1, "a request that waits")]),
        put("contexts", {3: "another context"}),
        put("service_classes", ({},) * 7),
    ],
    ids=["is_busy", "is_mid_message", "pending", "contexts", "service_classes"],
)
def test_a_request_that_does_not_is_left(twin, change):
    path, done = path_of(twin, succeed)
    change(path)
    path.data_received(sent(7))
    assert done == ["request_received"]


@twins
@pytest.mark.parametrize(
    "change",
    [
        put("observes_messages", True),
        put("in_data_transfer", False),
        put("is_logged", lambda level: True),
    ],
    ids=["observes_messages", "in_data_transfer", "is_logged"],
)
def test_a_pdu_is_left_where_its_messages_are_not_for_the_path(twin, change):
    path, done = path_of(twin, succeed)
    change(path)
    path.data_received(sent(7))
    assert done == ["pdu_received"]


@twins
def test_a_request_behind_one_that_has_come_to_wait_is_left(twin):
    """No request overtakes another."""
    path, done = path_of(twin, lambda path: path.pending.append((1, "a request")) or (0x0000, None))
    path.data_received(sent(7) + sent(8))
    assert done == ["handler 7", "sent", "responded", "request_received"]


@twins
def test_a_request_behind_the_end_of_the_association_is_left(twin):
    path, done = path_of(twin, succeed)
    path.assoc.pdu_received = lambda pdu: setattr(path, "in_data_transfer", False)
    path.data_received(sent(7) + pdu(0x05, bytes(4)) + sent(8))
    assert done == ["handler 7", "sent", "request_received"]


@twins
@pytest.mark.parametrize(
    ("name", "value"),
    [("observes_messages", True), ("in_data_transfer", False)],
    ids=lambda value: value,
)
def test_an_answer_is_left_where_the_handler_has_changed_what_it_needs(twin, name, value):
    def handle(path):
        setattr(path, name, value)
        return 0x0000, None

    path, done = path_of(twin, handle)
    path.data_received(sent())
    assert done == ["handler 7", "respond_slowly"]
    assert path.response_counts == {}


@twins
@pytest.mark.parametrize(
    "answer",
    [
        (0x0000, b""),
        (0x0111, None),
        (True, None),
        [0x0000, None],
        (0x0000,),
        (0x0000, None, None),
        0x0000,
        None,
    ],
    ids=repr,
)
def test_an_answer_that_takes_more_thought_is_left(twin, answer):
    path, done = path_of(twin, lambda path: answer)
    path.data_received(sent())
    assert done == ["handler 7", "respond_slowly"]


@twins
def test_an_answer_with_a_data_set(twin):
    path, done = path_of(twin, lambda path: (0x0000, b"encoded"))
    sent_pdus = []
    path.write = sent_pdus.append
    path.peer_length = 0
    path.data_received(sent())
    assert done == ["handler 7"]
    assert sent_pdus[0].endswith(p_data((1, LAST, b"encoded\0")))


@twins
def test_an_answer_where_messages_are_logged_is_left(twin):
    path, done = path_of(twin, succeed)
    path.data_received(p_data((1, COMMAND | LAST, request_of())))
    path.is_logged = lambda level: True
    path.data_received(p_data((1, LAST, DATA)))
    assert done == ["handler 7", "respond_slowly"]


@twins
def test_an_answer_behind_what_waits_to_be_sent(twin):
    path, done = path_of(twin, lambda path: path.outbox.append(b"PDU") or (0x0000, None))
    path.data_received(sent())
    assert done == ["handler 7", "send_message"]


@twins
@pytest.mark.parametrize(
    ("name", "value"), [("pending", [1]), ("user_queue", [1]), ("is_ending", True)]
)
def test_whoever_waits_is_told_of_an_answer(twin, name, value):
    path, done = path_of(twin, lambda path: setattr(path, name, value) or (0x0000, None))
    path.data_received(sent())
    assert done == ["handler 7", "sent", "responded"]


@twins
def test_a_handler_that_raises(twin):
    path, done = path_of(twin, lambda path: 1 / 0)
    path.data_received(sent())
    assert done == ["handler 7", "failed", "sent"]
    assert path.response_counts == {("N-SET", 0x0110): 1}


# -- Other services --------------------------------------------------------------------------------


def other(field, message_id=7, **elements):
    """A request without a data set."""
    values = {0x0100: field, 0x0110: message_id, 0x0800: 0x0101}
    values |= {int(tag[1:], 16): value for tag, value in elements.items()}
    return p_data((1, COMMAND | LAST, joined(values)))


CLASS, ONE = uid(MPPS), uid("1.2.3")
OTHERS = {
    "C-ECHO": other(0x0030, x0002=CLASS),
    "N-EVENT-REPORT": other(0x0100, x0002=CLASS, x1000=ONE, x1002=2),
    "N-GET": other(0x0110, x0003=CLASS, x1001=ONE),
    "N-ACTION": other(0x0130, x0003=CLASS, x1001=ONE, x1008=2),
    "N-CREATE": other(0x0140, x0002=CLASS, x1000=ONE),
    "N-DELETE": other(0x0150, x0003=CLASS, x1001=ONE),
}
STATUS_ALONE = ("C-ECHO", "N-DELETE")
AROUND = {
    "C-ECHO": (["log_echo"], []),
    "N-EVENT-REPORT": (["begin_concurrent"], ["end_concurrent"]),
}


@twins
@pytest.mark.parametrize("name", OTHERS)
def test_another_service(twin, name):
    answer = 0x0000 if name in STATUS_ALONE else (0x0000, None)
    path, done = path_of(twin, lambda path: answer)
    path.data_received(OTHERS[name])
    before, after = AROUND.get(name, ([], []))
    assert done == [*before, "handler 7", "sent", *after]
    assert path.response_counts == {(name, 0x0000): 1}
    assert path.requests_read == {name: 1}


@twins
@pytest.mark.parametrize("name", OTHERS)
def test_the_answer_of_another_service(twin, name):
    """A status where another one answers by two values, and the reverse."""
    answer = (0x0000, None) if name in STATUS_ALONE else 0x0000
    path, done = path_of(twin, lambda path: answer)
    path.data_received(OTHERS[name])
    assert done == [*AROUND.get(name, ([], []))[0], "handler 7", "respond_slowly"]


@twins
def test_a_report_while_another_request_is_served(twin):
    path, done = path_of(twin, succeed)
    path.is_busy, path.pending = True, [(1, "a request that waits")]
    path.data_received(OTHERS["N-EVENT-REPORT"] + OTHERS["N-GET"])
    assert done == ["begin_concurrent", "handler 7", "sent", "end_concurrent", "request_received"]


@twins
def test_a_report_while_another_is_served(twin):
    path, done = path_of(twin, succeed)
    type(path).begin_concurrent = lambda self: False
    path.data_received(OTHERS["N-EVENT-REPORT"])
    assert done == ["request_received"]


@twins
def test_a_report_within_another_message_is_left(twin):
    path, done = path_of(twin, succeed)
    path.is_mid_message = True
    path.data_received(OTHERS["N-EVENT-REPORT"])
    assert done == ["request_received"]


@twins
def test_a_new_instance_without_a_uid(twin):
    """Where the request has none, the answer must."""
    path, done = path_of(twin, succeed)
    path.data_received(other(0x0140, x0002=CLASS))
    assert done == ["handler 7", "respond_slowly"]
    path, done = path_of(twin, lambda path: (0x0110, None))
    path.data_received(other(0x0140, x0002=CLASS))
    assert done == ["handler 7", "sent"]


@twins
def test_an_n_set_without_a_data_set_is_refused(twin):
    path, done = path_of(twin, succeed)
    path.data_received(p_data((1, COMMAND | LAST, request_of(kind=0x0101))))
    assert done == ["refuse"]
    assert path.is_busy
