"""``from nset import N_SET`` in a pynetdicom that nset has not touched."""

import functools
import os
import pickle
import queue
import subprocess
import sys

import pytest
from associations import (
    INSTANCE,
    MPPS,
    RT,
    TIMEOUT,
    UPS,
    associated,
    completed,
    completed_bytes,
    context_id,
    exchange,
    fields,
    listening,
    make_request,
    make_response,
    receive,
)
from pydicom.dataset import Dataset
from pynetdicom import evt, sop_class
from pynetdicom.dimse import _RQ_TO_MESSAGE, _RSP_TO_MESSAGE
from pynetdicom.dimse_messages import N_SET_RQ, N_SET_RSP
from pynetdicom.dimse_primitives import N_GET, N_SET, DIMSEPrimitive

# One of each service class that takes N-SET
SERVICES = {
    "MPPS": MPPS,
    "UPS": UPS,
    "print": sop_class.BasicFilmSession,
    "RT": RT,
}


SOP_CLASSES = tuple(SERVICES.values())


class SentBytes:
    """What an association puts on the wire from now on."""

    def __init__(self, association) -> None:
        self._sent: queue.Queue[bytes] = queue.Queue()
        association.bind(evt.EVT_DATA_SENT, lambda event: self._sent.put(event.data))

    def take(self, number_of_pdus: int) -> bytes:
        return b"".join(self._sent.get(timeout=TIMEOUT) for _ in range(number_of_pdus))


def test_is_an_instance_of_pynetdicoms_class(nset):
    primitive = nset.N_SET()
    assert isinstance(primitive, N_SET)
    assert isinstance(primitive, DIMSEPrimitive)
    assert isinstance(primitive, nset.N_SET)
    assert not isinstance(primitive, N_GET)
    assert not isinstance(N_SET(), nset.N_SET)
    assert primitive.__class__ is N_SET
    assert type(primitive) is nset.N_SET


def test_a_copy_stays_nsets(nset):
    primitive = pickle.loads(pickle.dumps(make_request(nset.N_SET)))
    assert type(primitive) is nset.N_SET
    assert isinstance(primitive, N_SET)


def test_a_subclass_answers_with_itself(nset):
    class Mine(nset.N_SET):
        pass

    assert Mine().__class__ is Mine
    assert not isinstance(Mine(), N_SET)


def test_functions_by_class_are_found_by_pynetdicoms(nset):
    function = functools.singledispatch(lambda primitive: "something")
    function.register(nset.N_SET, lambda primitive: "nset's")
    assert function(nset.N_SET()) == "something"
    function.register(N_SET, lambda primitive: "pynetdicom's")
    assert function(nset.N_SET()) == function(N_SET()) == "pynetdicom's"


def test_is_found_by_its_exact_class(nset):
    primitive = nset.N_SET()
    assert _RQ_TO_MESSAGE[primitive.__class__] is N_SET_RQ
    assert _RSP_TO_MESSAGE[primitive.__class__] is N_SET_RSP
    assert primitive.msg_type == "N-SET"


@pytest.mark.parametrize("make", [make_request, make_response])
def test_becomes_the_same_message_as_pynetdicoms(nset, make):
    cls = {make_request: N_SET_RQ, make_response: N_SET_RSP}[make]
    ours, theirs = cls(), cls()
    ours.primitive_to_message(make(nset.N_SET))
    theirs.primitive_to_message(make(N_SET))
    assert ours.command_set == theirs.command_set
    assert fields(ours.message_to_primitive()) == fields(make(N_SET))


def test_pynetdicom_loaded_after_nset(nset):
    """What was made before is taken as well."""
    script = """if True:
        import sys
        import nset
        primitive = nset.N_SET()
        assert not [name for name in sys.modules if name.startswith("pynetdicom")]
        assert primitive.__class__ is nset.N_SET
        from pynetdicom.dimse import _RQ_TO_MESSAGE
        from pynetdicom.dimse_primitives import N_SET
        assert primitive.__class__ is N_SET
        assert isinstance(primitive, N_SET)
        assert primitive.__class__ in _RQ_TO_MESSAGE
        """
    environment = os.environ | {"NSET_IMPLEMENTATION": nset.IMPLEMENTATION}
    subprocess.run([sys.executable, "-c", script], env=environment, timeout=60, check=True)


def test_a_request_goes_over_the_wire(nset, server):
    served = []

    def handle(event):
        served.append((type(event.request), event.message_id, event.modification_list))
        answer = Dataset()
        answer.PerformedProcedureStepID = "PPS-1"
        return 0x0000, answer

    with associated(server, MPPS, {evt.EVT_N_SET: handle}) as (requestor, _):
        response = exchange(requestor, make_request(nset.N_SET))
        assert served == [(N_SET, 7, completed())]
        assert response.is_valid_response
        assert response.MessageIDBeingRespondedTo == 7
        assert response.Status == 0x0000
        assert response.AffectedSOPClassUID == MPPS
        assert response.AffectedSOPInstanceUID == INSTANCE
        # With the same bytes as pynetdicom's own
        sent = SentBytes(requestor)
        exchange(requestor, make_request(nset.N_SET))
        ours = sent.take(2)
        exchange(requestor, make_request(N_SET))
        assert ours == sent.take(2)


def test_a_response_goes_over_the_wire(nset, server):
    with associated(server, MPPS) as (requestor, acceptor), listening(requestor):
        sent = SentBytes(acceptor)
        received, data = [], []
        for cls in (nset.N_SET, N_SET):
            acceptor.dimse.send_msg(make_response(cls), context_id(acceptor))
            received.append(receive(requestor))
            data.append(sent.take(1))
        assert data[0] == data[1]
        assert fields(received[0]) == fields(received[1]) == fields(make_response(N_SET))
        # `response()` of what came in answers it as pynetdicom would
        request = make_request(nset.N_SET)
        acceptor.dimse.send_msg(request.response(0x0112), context_id(acceptor))
        assert receive(requestor).Status == 0x0112


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_class_serves_it(nset, server, service):
    served = []

    def handle(event):
        served.append((type(event.request), event.modification_list))
        return 0x0000, completed()

    class_uid = SERVICES[service]
    with associated(server, class_uid, {evt.EVT_N_SET: handle}) as (requestor, acceptor):
        with listening(requestor):
            # As if it had come off the wire
            request = make_request(nset.N_SET, class_uid)
            acceptor.dimse.msg_queue.put((context_id(acceptor), request))
            response = receive(requestor)
        assert served == [(nset.N_SET, completed())]
        assert (response.MessageIDBeingRespondedTo, response.Status) == (7, 0x0000)
        assert response.AttributeList.getvalue() == completed_bytes()


def test_an_invalid_request_is_passed_over(nset, server, caplog):
    handled = []

    def handle(event):
        handled.append(event.request)
        return 0x0000, None

    with associated(server, MPPS, {evt.EVT_N_SET: handle}) as (requestor, acceptor):
        request = make_request(nset.N_SET)
        request.MessageID = None
        acceptor.dimse.msg_queue.put((context_id(acceptor), request))
        # Served in order: the answer to the second says that the first has had its turn
        exchange(requestor, make_request(nset.N_SET))
    assert len(handled) == 1
    assert "Received unexpected N-SET service message" in caplog.text


def test_the_status_of_a_response_is_read(nset, server):
    """What `send_n_set` does with the response that it has received."""
    with associated(server, MPPS) as (requestor, _):
        status = requestor._check_received_status(make_response(nset.N_SET))
    assert (status.Status, status.ErrorComment, status.ErrorID) == (0x0110, "Disk full", 28)


def test_a_status_is_set_on_a_response(nset, server):
    """What the service classes do with the Dataset that a handler has returned."""
    status = Dataset()
    status.Status = 0x0107
    status.AttributeIdentifierList = [0x00400252, 0x00400250]
    status.ErrorComment = "Not all"
    with associated(server, MPPS) as (_, acceptor):
        service = sop_class.uid_to_service_class(MPPS)(acceptor)
        ours, theirs = (service.validate_status(status, cls()) for cls in (nset.N_SET, N_SET))
    assert fields(ours) == fields(theirs)
    assert ours.AttributeIdentifierList == [0x00400252, 0x00400250]
