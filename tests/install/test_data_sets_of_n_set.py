"""install(): the data sets of N-SET are encoded and decoded by nset.dataset, in both directions."""

import logging
import re
from io import BytesIO
from queue import Queue

import pytest
from acceptors import entity
from associations import INSTANCE, MPPS, completed
from encoded_data_sets import IMPLICIT, nested, pydicom_decode, pydicom_encode
from pydicom import Dataset
from pynetdicom import evt


@pytest.fixture
def ask():
    """Send an N-SET to pynetdicom's server with that handler; give what comes back."""

    def ask(data_set, handler, event=evt.EVT_N_SET, method="send_n_set"):
        ae = entity(MPPS)
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(event, handler)])
        try:
            assoc = ae.associate(*server.server_address[:2])
            try:
                return getattr(assoc, method)(data_set, MPPS, INSTANCE)
            finally:
                assoc.release()
        finally:
            server.shutdown()

    return ask


def is_ours(data_set):
    return type(data_set).__module__.startswith("nset")


def test_both_directions(installed, nset, ask):
    seen = Queue()

    def handle(event):
        assert event.modification_list is event.modification_list
        seen.put((event.request.ModificationList.getvalue(), event.modification_list))
        return 0x0000, event.modification_list

    status, attribute_list = ask(completed(), handle)
    encoded, modification_list = seen.get_nowait()
    assert status.Status == 0x0000
    assert encoded == pydicom_encode(completed(), IMPLICIT)
    assert attribute_list == modification_list == completed()
    is_compiled = nset.IMPLEMENTATION == "compiled"
    assert is_ours(attribute_list) is is_ours(modification_list) is is_compiled


def test_other_services_are_left_alone(installed, ask):
    seen = Queue()

    def handle(event):
        seen.put(event.attribute_list)
        return 0x0000, event.attribute_list

    _, attribute_list = ask(completed(), handle, evt.EVT_N_CREATE, "send_n_create")
    assert not is_ours(attribute_list)
    assert not is_ours(seen.get_nowait())


def test_uninstalled(installed, ask):
    installed.uninstall()
    _, attribute_list = ask(completed(), lambda event: (0x0000, event.modification_list))
    assert attribute_list == completed()
    assert not is_ours(attribute_list)


def test_no_attribute_list(installed, ask):
    status, attribute_list = ask(completed(), lambda event: (0x0000, None))
    assert (status.Status, attribute_list) == (0x0000, Dataset())


def test_a_list_that_can_not_be_encoded(installed, ask, caplog):
    data_set = Dataset()
    data_set.Rows = 1
    data_set["Rows"]._value = "many"
    with pytest.raises(ValueError, match="Failed to encode the supplied 'Modification List'"):
        ask(data_set, lambda event: (0x0000, None))
    assert "pydicom.write_dataset() failed:" in caplog.messages


def test_a_list_that_is_nested_too_deeply(installed, ask, caplog):
    too_deep = pydicom_decode(nested(65), IMPLICIT)
    with caplog.at_level(logging.ERROR, "nset"):
        status, _ = ask(too_deep, lambda event: (0x0000, event.modification_list))
    assert status.Status == 0x0213
    (line,) = [record for record in caplog.records if record.name == "nset"]
    expected = (
        r"The data set of N-SET request 1 from PYNETDICOM@127\.0\.0\.1:\d+ was not decoded: "
        "more than 64 nested sequences, at offset 1024 .*"
    )
    assert re.fullmatch(expected, line.getMessage())
    assert (line.calling_ae_title, line.message_id, line.status) == ("PYNETDICOM", 1, 0x0213)


def test_an_attribute_list_that_is_nested_too_deeply(installed, ask, caplog):
    too_deep = pydicom_decode(nested(65), IMPLICIT)
    status, attribute_list = ask(completed(), lambda event: (0x0000, too_deep))
    assert (status.Status, attribute_list) == (0x0110, None)
    assert "Unable to decode the received 'Attribute List' dataset" in caplog.messages


def test_the_log_says_what_is_decoded(installed, ask, caplog):
    with caplog.at_level(logging.DEBUG, "pynetdicom.dsutils"):
        ask(completed(), lambda event: (0x0000, event.modification_list))
    lines = [text for text in caplog.messages if "read_dataset" in text]
    assert lines.count('pydicom.read_dataset() TransferSyntax="Little Endian Implicit"') >= 2


def test_a_list_that_is_set_again(installed, ask):
    def handle(event):
        first = event.modification_list
        event.request.ModificationList = BytesIO(pydicom_encode(Dataset(), IMPLICIT))
        assert event.modification_list == Dataset()
        return 0x0000, first

    assert ask(completed(), handle)[1] == completed()
