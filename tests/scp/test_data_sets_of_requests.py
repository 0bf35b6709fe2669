"""nset.scp: the data sets of requests are decoded by nset.dataset, and within its bounds."""

import logging
import re
from queue import Queue

import pytest
from acceptors import accepting, entity, port
from associations import INSTANCE, MPPS, completed
from encoded_data_sets import IMPLICIT, nested, pydicom_decode, state
from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.sop_class import StorageCommitmentPushModel

N_SET = (evt.EVT_N_SET, "modification_list", "send_n_set", (MPPS, INSTANCE))
N_CREATE = (evt.EVT_N_CREATE, "attribute_list", "send_n_create", (MPPS, INSTANCE))
N_ACTION = (
    evt.EVT_N_ACTION,
    "action_information",
    "send_n_action",
    (1, StorageCommitmentPushModel, INSTANCE),
)
N_EVENT_REPORT = (
    evt.EVT_N_EVENT_REPORT,
    "event_information",
    "send_n_event_report",
    (1, StorageCommitmentPushModel, INSTANCE),
)


@pytest.fixture(params=["plain", "async", "inline"])
def ask(request, nset):
    """Have a handler of that kind called with a data set; give the status of the answer."""

    def ask(service, data_set, function):
        event, _, method, args = service

        async def handler(event):
            return function(event)

        bound = [(event, handler if request.param == "async" else function)]
        ae = entity(MPPS, StorageCommitmentPushModel)
        with accepting(nset, bound, ae, inline=request.param == "inline") as server:
            assoc = ae.associate("127.0.0.1", port(server))
            try:
                answer, _ = getattr(assoc, method)(data_set, *args)
            finally:
                assoc.release()
        return answer.Status

    return ask


def undecoded(depth):
    """A data set that stays as it is when it is sent."""
    return pydicom_decode(nested(depth), IMPLICIT)


@pytest.mark.parametrize("service", [N_SET, N_CREATE, N_ACTION, N_EVENT_REPORT])
def test_what_a_handler_gets(ask, nset, service):
    seen = Queue()

    def handle(event):
        data_set = getattr(event, service[1])
        assert data_set is getattr(event, service[1])
        seen.put(data_set)
        return 0x0000, None

    assert ask(service, completed(), handle) == 0x0000
    data_set = seen.get_nowait()
    assert data_set == completed()
    if nset.IMPLEMENTATION == "compiled":
        assert type(data_set).__module__.startswith("nset")
    assert state(data_set["PerformedSeriesSequence"].value[0])


@pytest.mark.parametrize("service", [N_SET, N_CREATE, N_ACTION, N_EVENT_REPORT])
def test_a_data_set_that_is_nested_too_deeply(ask, service, caplog):
    with caplog.at_level(logging.ERROR, "nset"):
        status = ask(service, undecoded(65), lambda event: (0x0000, getattr(event, service[1])))
    assert status == 0x0213
    (line,) = [record for record in caplog.records if record.name == "nset"]
    name = service[2].removeprefix("send_").replace("_", "-").upper()
    expected = (
        rf"The data set of {name} request \d+ from PYNETDICOM@127\.0\.0\.1:\d+ was not decoded: "
        "more than 64 nested sequences, at offset 1024 .*"
    )
    assert re.fullmatch(expected, line.getMessage())
    assert (line.service, line.status) == (name, 0x0213)


@pytest.mark.parametrize("service", [N_SET, N_CREATE, N_ACTION, N_EVENT_REPORT])
def test_it_is_answered_also_where_the_log_raises(ask, service):
    class Log(logging.Handler):
        def handle(self, record):
            raise OSError("from the log's handler")

    log = Log(logging.ERROR)
    logging.getLogger("nset").addHandler(log)
    try:
        status = ask(service, undecoded(65), lambda event: (0x0000, getattr(event, service[1])))
    finally:
        logging.getLogger("nset").removeHandler(log)
    assert status == 0x0213


@pytest.mark.parametrize("service", [N_SET, N_CREATE, N_ACTION, N_EVENT_REPORT])
def test_a_handler_that_does_not_look(ask, service):
    assert ask(service, undecoded(65), lambda event: (0x0000, None)) == 0x0000


def test_an_attribute_list_that_can_not_be_encoded(ask, caplog):
    def handle(event):
        data_set = Dataset()
        data_set.Rows = 1
        data_set["Rows"]._value = "many"
        return 0x0000, data_set

    assert ask(N_SET, completed(), handle) == 0x0110
    assert "pydicom.write_dataset() failed:" in caplog.messages
    assert "Failed encoding the response 'Attribute List' dataset" in caplog.messages


def test_another_attribute_of_the_event(ask):
    def handle(event):
        with pytest.raises(AttributeError, match="not an N-ACTION request"):
            event.action_information  # noqa: B018
        return 0x0000, None

    assert ask(N_SET, completed(), handle) == 0x0000
