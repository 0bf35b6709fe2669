"""Messages of pynetdicom with nset in it: what handlers see, and what they may change."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from associations import (
    INSTANCE,
    MPPS,
    associated,
    completed,
    encoded,
    status_dataset,
)
from pynetdicom import dimse_messages, evt
from seen import ANSWERS, Seen, elements

OTHER_INSTANCE = "1.2.826.0.1.3680043.8.498.77"


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_handlers_see_what_they_ever_saw(server, both, answer):
    def run():
        with associated(server, MPPS, {evt.EVT_N_SET: lambda event: answer}) as (scu, scp):
            seen = Seen(scu=scu, scp=scp)
            status, answered = scu.send_n_set(completed(), MPPS, INSTANCE, msg_id=9)
            return seen.messages, seen.wire, elements(status), answered

    ours, stock = both(run)
    assert ours == stock
    assert [message[:4] for message in ours[0]] == [
        ("scu", "EVT_DIMSE_SENT", dimse_messages.N_SET_RQ, True),
        ("scp", "EVT_DIMSE_RECV", dimse_messages.N_SET_RQ, True),
        ("scp", "EVT_DIMSE_SENT", dimse_messages.N_SET_RSP, True),
        ("scu", "EVT_DIMSE_RECV", dimse_messages.N_SET_RSP, True),
    ]


# -- Handlers that change messages ----------------------------------------------------------------


def replace_command_set(message: Any) -> None:
    changed = copy.deepcopy(message.command_set)
    changed.CommandDataSetType = 0x0102
    message.command_set = changed


def replace_data_set(message: Any) -> None:
    message.data_set = encoded(status_dataset(Status=0x0000))


REQUEST_CHANGES: dict[str, Callable[[Any], object]] = {
    "nothing, only looks": lambda message: elements(message.command_set),
    "an element": lambda message: setattr(
        message.command_set, "RequestedSOPInstanceUID", OTHER_INSTANCE
    ),
    "the value of an element": lambda message: setattr(
        message.command_set["MessageID"], "value", 77
    ),
    "one element more": lambda message: setattr(
        message.command_set, "AffectedSOPInstanceUID", OTHER_INSTANCE
    ),
    "the command set": replace_command_set,
    "the data set": replace_data_set,
}


@pytest.mark.parametrize("event", [evt.EVT_DIMSE_SENT, evt.EVT_DIMSE_RECV], ids=["SENT", "RECV"])
@pytest.mark.parametrize("change", REQUEST_CHANGES.values(), ids=REQUEST_CHANGES)
def test_a_handler_that_changes_requests(server, both, event, change):
    def run():
        requests = []

        def handle(event):
            request = event.request
            requests.append(
                (
                    request.MessageID,
                    request.RequestedSOPInstanceUID,
                    request.AffectedSOPInstanceUID,
                    event.modification_list,
                )
            )
            return 0x0000, None

        with associated(server, MPPS, {evt.EVT_N_SET: handle}) as (scu, scp):
            scu.dimse_timeout = 2  # nset waits for a response with the Message ID that was sent
            changer = scu if event is evt.EVT_DIMSE_SENT else scp
            changer.bind(event, lambda event: is_request(event) and change(event.message))
            seen = Seen(scu=scu, scp=scp)
            scu.send_n_set(completed(), MPPS, INSTANCE)
            return requests, seen.wire, seen.messages

    ours, stock = both(run)
    assert ours == stock
    assert len(ours[0]) == 1


def is_request(event: evt.Event) -> bool:
    return type(event.message) is dimse_messages.N_SET_RQ


RESPONSE_CHANGES: dict[str, Callable[[Any], object]] = {
    "Status": lambda message: setattr(message.command_set, "Status", 0x0112),
    "an element less": lambda message: delattr(message.command_set, "AffectedSOPInstanceUID"),
    "a comment": lambda message: setattr(message.command_set, "ErrorComment", "Disk full"),
    "the data set": replace_data_set,
}


@pytest.mark.parametrize("event", [evt.EVT_DIMSE_SENT, evt.EVT_DIMSE_RECV], ids=["SENT", "RECV"])
@pytest.mark.parametrize("change", RESPONSE_CHANGES.values(), ids=RESPONSE_CHANGES)
def test_a_handler_that_changes_responses(server, both, event, change):
    def run():
        handlers = {evt.EVT_N_SET: lambda event: (0x0000, completed())}
        with associated(server, MPPS, handlers) as (scu, scp):
            changer = scp if event is evt.EVT_DIMSE_SENT else scu
            changer.bind(event, lambda event: is_request(event) or change(event.message))
            seen = Seen(scu=scu, scp=scp)
            status, answer = scu.send_n_set(completed(), MPPS, INSTANCE)
            return elements(status), answer, seen.wire, seen.messages

    ours, stock = both(run)
    assert ours == stock
