"""Messages in associations, with nset installed and without: what handlers, logs and peers see."""

import copy
import logging
import pathlib
import pickle
import queue
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from operator import itemgetter
from types import ModuleType
from typing import Any

import pynetdicom.tests
import pytest
from associations import (
    INSTANCE,
    MPPS,
    TIMEOUT,
    UPS,
    associated,
    completed,
    completed_bytes,
    encoded,
    exchange,
    make_request,
    make_response,
    status_dataset,
)
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, dimse_messages, dimse_primitives, evt, sop_class
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

STOCK = dimse_primitives.N_SET
CT = sop_class.CTImageStorage
FIND = sop_class.PatientRootQueryRetrieveInformationModelFind
OTHER_INSTANCE = "1.2.826.0.1.3680043.8.498.77"

CERTIFICATES = pathlib.Path(pynetdicom.tests.__file__).parent / "cert_files"


SOP_CLASSES = (MPPS, UPS, CT, FIND, sop_class.Verification)


@pytest.fixture
def both(integration: ModuleType) -> Callable[[Callable[[], Any]], tuple[Any, Any]]:
    """Do something with nset installed and without; give both results, nset's first."""

    def both(run: Callable[[], Any]) -> tuple[Any, Any]:
        with integration.installed():
            ours = run()
        return ours, run()

    return both


# -- What there is to see -------------------------------------------------------------------------


def elements(command_set: Dataset) -> list[tuple[object, ...]]:
    return [(element.tag, element.VR, element.value) for element in command_set]


class Seen:
    """Every message that associations send and receive, and the P-DATA-TF PDUs that they send."""

    def __init__(self, **associations: Association) -> None:
        self.messages: list[tuple[object, ...]] = []
        self.wire: dict[str, list[bytes]] = {}
        for name, association in associations.items():
            self.wire[name] = []
            association.bind(evt.EVT_DIMSE_RECV, self._message, [name])
            association.bind(evt.EVT_DIMSE_SENT, self._message, [name])
            association.bind(evt.EVT_DATA_SENT, self._sent, [name])

    def _message(self, event: evt.Event, name: str) -> None:
        message = event.message
        self.messages.append(
            (
                name,
                event.event.name,
                type(message),
                isinstance(message.command_set, Dataset),
                message.context_id,
                elements(message.command_set),
                None if message.data_set is None else message.data_set.getvalue(),
            )
        )

    def _sent(self, event: evt.Event, name: str) -> None:
        if event.data[0] == 0x04:
            self.wire[name].append(event.data)


ANSWERS = {
    "Success": (0x0000, None),
    "Success and a data set": (0x0000, completed()),
    "a Warning with attributes": (
        status_dataset(Status=0x0107, AttributeIdentifierList=[0x00400252, 0x00400250]),
        completed(),
    ),
    "a Warning with one attribute": (
        status_dataset(Status=0x0107, AttributeIdentifierList=0x00400252),
        None,
    ),
    "a Failure with a comment": (
        status_dataset(Status=0x0110, ErrorComment="Disk full", ErrorID=28),
        None,
    ),
    "a Failure with an empty comment": (status_dataset(Status=0x0110, ErrorComment=""), None),
    "an unknown status": (0xFFF0, completed()),
}


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


# -- The command set is decoded when it is read ---------------------------------------------------


def is_read(message: Any) -> bool:
    return type(vars(message)["command_set"]) is Dataset


def test_nobody_reads_it_who_does_not_ask(server, integration):
    """Not by the standard handlers either, whose lines would not be logged."""
    messages = []

    def keep(event):
        messages.append((event.message, is_read(event.message)))

    handlers = {
        evt.EVT_N_SET: lambda event: (0x0000, completed()),
        evt.EVT_DIMSE_RECV: keep,
        evt.EVT_DIMSE_SENT: keep,
    }
    integration.install()
    with associated(server, MPPS, handlers) as (scu, _):
        scu.bind(evt.EVT_DIMSE_RECV, keep)
        scu.bind(evt.EVT_DIMSE_SENT, keep)
        assert scu.send_n_set(completed(), MPPS, INSTANCE)[0].Status == 0x0000
    assert [read for _, read in messages] == [False] * 4
    for message, _ in messages:
        assert not is_read(message)
        assert message.command_set.CommandField in (0x0120, 0x8120)
        assert is_read(message)


def received(make: Callable[[type], Any] = make_request) -> Any:
    """A message that was received, and whose command set was not read."""
    name = {make_request: "N_SET_RQ", make_response: "N_SET_RSP"}[make]
    sent = getattr(dimse_messages, name)()
    sent.primitive_to_message(make(STOCK))
    message = dimse_messages.DIMSEMessage()
    for data in sent.encode_msg(1, 0):
        message.decode_msg(data)
    return message


FIRST_LOOKS: dict[str, Callable[[Dataset], object]] = {
    "attribute": lambda ds: ds.MessageID,
    "no such attribute": lambda ds: getattr(ds, "Status", None),
    "item": lambda ds: ds[0x0000, 0x0110].value,
    "get": lambda ds: ds.get("MessageID"),
    "in": lambda ds: "MessageID" in ds,
    "length": len,
    "elements": elements,
    "keys": lambda ds: list(ds.keys()),
    "dir": lambda ds: ds.dir(),
    "text": str,
    "repr": repr,
    "equal to": lambda ds: ds == Dataset(),
    "another is equal": lambda ds: Dataset() == ds,
    "a copy": lambda ds: elements(copy.copy(ds)),
    "a deep copy": lambda ds: elements(copy.deepcopy(ds)),
    "pickled": lambda ds: elements(pickle.loads(pickle.dumps(ds))),
    "a Dataset of it": lambda ds: elements(Dataset(ds)),
    "updated from": lambda ds: Dataset().update(ds),
    "JSON": lambda ds: ds.to_json(),
    "encoding": lambda ds: ds.original_encoding,
    "class": lambda ds: ds.__class__,
    "attributes": lambda ds: sorted(vars(ds)),
    "set": lambda ds: (setattr(ds, "MessageID", 9), elements(ds)),
    "set an item": lambda ds: (ds.add_new(0x00000110, "US", 9), elements(ds)),
    "set what is no element": lambda ds: (setattr(ds, "mine", 9), ds.mine, elements(ds)),
    "deleted": lambda ds: (delattr(ds, "MessageID"), elements(ds)),
    "deleted item": lambda ds: (ds.__delitem__(0x00000110), elements(ds)),
    "pop": lambda ds: (ds.pop(0x00000110).value, elements(ds)),
    "clear": lambda ds: (ds.clear(), elements(ds)),
    "walk": lambda ds: ds.walk(lambda dataset, element: None),
}


@pytest.mark.parametrize("look", FIRST_LOOKS.values(), ids=FIRST_LOOKS)
def test_whatever_is_first_done_with_it(both, look):
    ours, stock = both(lambda: look(received().command_set))
    assert ours == stock


def test_it_is_a_dataset_all_along(integration):
    integration.install()
    message = received()
    command_set = message.command_set
    assert isinstance(command_set, Dataset)
    assert not is_read(message)
    assert command_set.__class__ is Dataset
    assert type(command_set) is Dataset
    assert message.command_set is command_set


def test_many_threads_at_once(integration):
    """Each sets an element of its own, and is not the first: nothing is lost."""
    integration.install()
    threads = range(4)
    start = threading.Barrier(len(threads))
    messages = [received() for _ in range(50)]
    expected = elements(received().command_set)
    expected += [(0x00000F00 + number, "US", number) for number in threads]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for message in messages:
                start.wait(TIMEOUT)
                message.command_set.add_new(0x00000F00 + number, "US", number)
        except BaseException as error:
            failures.append(error)
            start.abort()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        workers = [threading.Thread(target=work, args=(number,)) for number in threads]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(TIMEOUT)
    finally:
        sys.setswitchinterval(interval)
    assert failures == []
    for message in messages:
        assert sorted(elements(message.command_set)) == sorted(expected)
        assert is_read(message)


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


# -- On the wire ----------------------------------------------------------------------------------


@contextmanager
def with_lengths(
    server: ThreadedAssociationServer, handlers: dict[Any, Any], scp_length: int, scu_length: int
) -> Iterator[tuple[Association, Association]]:
    """As `associated`, with the maximum length that each side is ready to receive."""
    before = server.ae.maximum_pdu_size
    server.ae.maximum_pdu_size = scp_length
    acceptors: queue.Queue[Association] = queue.Queue()
    handlers = {**handlers, evt.EVT_ESTABLISHED: lambda event: acceptors.put(event.assoc)}
    for event, handler in handlers.items():
        server.bind(event, handler)
    ae = AE()
    ae.add_requested_context(MPPS, ImplicitVRLittleEndian)
    scu = ae.associate("127.0.0.1", server.server_address[1], max_pdu=scu_length)
    scp = acceptors.get(timeout=TIMEOUT)
    try:
        yield scu, scp
    finally:
        scu.release()
        for thread in (scu, scp):
            thread.join(TIMEOUT)
        for event, handler in handlers.items():
            server.unbind(event, handler)
        server.ae.maximum_pdu_size = before


def pdvs(wire: list[bytes]) -> list[tuple[int, int, bytes]]:
    """Context ID, message control header and fragment of each PDU, which holds one PDV."""
    found = []
    for pdu in wire:
        assert int.from_bytes(pdu[6:10], "big") == len(pdu) - 10
        found.append((pdu[10], pdu[11], pdu[12:]))
    return found


def joined(fragments: list[tuple[int, int, bytes]]) -> tuple[bytes, bytes]:
    """The command set and the data set, each in fragments of which the last one says so."""
    whole = {1: b"", 0: b""}
    complete = []
    for _, header, fragment in fragments:
        assert header & 1 not in complete
        whole[header & 1] += fragment
        if header & 2:
            complete.append(header & 1)
    assert complete == [1, 0]
    return whole[1], whole[0]


@pytest.mark.parametrize(
    ("scp_length", "scu_length"), [(0, 0), (16382, 32), (32, 16382), (64, 20), (8, 64), (29, 17)]
)
def test_fragments(server, both, scp_length, scu_length):
    def run():
        handlers = {evt.EVT_N_SET: lambda event: (0x0000, event.modification_list)}
        with with_lengths(server, handlers, scp_length, scu_length) as (scu, scp):
            seen = Seen(scu=scu, scp=scp)
            status, answer = scu.send_n_set(completed(), MPPS, INSTANCE)
            assert status.Status == 0x0000
            assert answer == completed()
        # Not before the end: a PDU counts as sent a little after the peer has it.
        return {name: pdvs(wire) for name, wire in seen.wire.items()}

    ours, stock = both(run)
    for name, length in (("scu", scp_length), ("scp", scu_length)):
        assert joined(ours[name]) == joined(stock[name])
        for _, _, fragment in ours[name]:
            assert len(fragment) % 2 == 0
            assert length == 0 or len(fragment) <= length - 6
        if length % 2 == 0:
            assert ours[name] == stock[name]


@pytest.mark.parametrize("data", [b"odd", b"even"])
def test_a_data_set_of_odd_length_is_padded(nset, server, integration, data):
    """Difference 7."""
    received = []

    def handle(event):
        received.append(event.request.ModificationList.getvalue())
        return 0x0000, None

    request = make_request(nset.N_SET)
    request.ModificationList = BytesIO(data)
    integration.install()
    with associated(server, MPPS, {evt.EVT_N_SET: handle}) as (scu, _):
        assert exchange(scu, request).Status == 0x0000
    assert received == [data + b"\0" * (len(data) % 2)]
    assert request.ModificationList.getvalue() == data


def test_an_empty_data_set_is_not_announced(server, integration):
    """Difference 3: pynetdicom announces one, and the peer waits for it until its timeout."""
    integration.install()
    handlers = {evt.EVT_N_SET: lambda event: (0x0000, event.modification_list)}
    with associated(server, MPPS, handlers) as (scu, scp):
        seen = Seen(scu=scu, scp=scp)
        # Nor is it taken for one: an N-SET without a list is none.
        assert scu.send_n_set(Dataset(), MPPS, INSTANCE) == (status_dataset(Status=0x0212), None)
    for wire in seen.wire.values():
        ((_, header, command_set),) = pdvs(wire)
        assert header == 0x03
        assert bytes.fromhex("00000008 02000000 0101") in command_set


@pytest.mark.parametrize("skipped", [0, 132])
@pytest.mark.parametrize("length", [0, 128])
def test_a_data_set_from_a_file(nset, server, both, tmp_path, skipped, length):
    """As `send_c_store` does it where data sets are sent in chunks."""
    path = tmp_path / "data_set"
    path.write_bytes(bytes(skipped) + completed_bytes())
    classes = iter((nset.N_SET, STOCK))

    def run():
        received = []

        def handle(event):
            received.append(event.modification_list)
            return 0x0000, None

        request = make_request(next(classes))
        request.ModificationList = None
        request._dataset_path = (path, skipped)
        with with_lengths(server, {evt.EVT_N_SET: handle}, length, length) as (scu, scp):
            seen = Seen(scu=scu, scp=scp)
            assert exchange(scu, request).Status == 0x0000
        return received, seen.wire

    ours, stock = both(run)
    assert ours == stock
    assert ours[0] == [completed()]


@pytest.mark.parametrize("nodelay", [True, False])
def test_nodelay(server, integration, nodelay):
    def is_set(association: Association) -> bool:
        sock = association.dul.socket.socket
        return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    integration.install(nodelay=nodelay)
    with associated(server, MPPS) as (scu, scp):
        assert is_set(scu) is nodelay
        assert is_set(scp) is nodelay
    integration.uninstall()
    with associated(server, MPPS) as (scu, scp):
        assert not is_set(scu)
        assert not is_set(scp)


def test_tls(both):
    def context(protocol: int, name: str, peer: str) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(CERTIFICATES / f"{name}.crt", CERTIFICATES / f"{name}.key")
        context.load_verify_locations(CERTIFICATES / f"{peer}.crt")
        return context

    def run():
        ae = AE()
        ae.add_supported_context(MPPS)
        ae.add_requested_context(MPPS)
        server = ae.start_server(
            ("127.0.0.1", 0),
            block=False,
            ssl_context=context(ssl.PROTOCOL_TLS_SERVER, "server", "client"),
            evt_handlers=[(evt.EVT_N_SET, lambda event: (0x0000, event.modification_list))],
        )
        try:
            scu = ae.associate(
                "127.0.0.1",
                server.server_address[1],
                tls_args=(context(ssl.PROTOCOL_TLS_CLIENT, "client", "server"), None),
            )
            sock = scu.dul.socket.socket
            assert isinstance(sock, ssl.SSLSocket)
            nodelay = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            status, answer = scu.send_n_set(completed(), MPPS, INSTANCE)
            scu.release()
        finally:
            server.shutdown()
        return nodelay, elements(status), answer

    ours, stock = both(run)
    assert (ours[0], stock[0]) == (1, 0)
    assert ours[1:] == stock[1:]
    assert ours[2] == completed()


# -- In the log -----------------------------------------------------------------------------------


@pytest.fixture
def log(server, both, caplog):
    """What pynetdicom logs of an N-SET with this answer, with nset and without."""

    def log(level: int, answer: Any) -> tuple[Any, Any]:
        def run():
            with associated(server, MPPS, {evt.EVT_N_SET: lambda event: answer}) as (scu, _):
                # What is logged of the beginning of the association is behind us after this.
                scu.send_n_set(completed(), MPPS, INSTANCE)
                caplog.clear()
                scu.send_n_set(completed(), MPPS, INSTANCE)
                return [(one.name, one.levelno, one.getMessage()) for one in caplog.records]

        caplog.set_level(level, "pynetdicom")
        return both(run)

    return log


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_the_log_for_debugging(log, answer):
    ours, stock = log(logging.DEBUG, answer)
    assert ours == stock
    assert "N-SET RSP" in str(ours)


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
def test_the_log(log, level):
    ours, stock = log(level, (0xFFF0, None))
    assert ours == stock
    assert "N-SET RSP" not in str(ours)
    assert "0xFFF0" in str(ours)


# -- Other services -------------------------------------------------------------------------------


def patient() -> Dataset:
    dataset = Dataset()
    dataset.QueryRetrieveLevel = "PATIENT"
    dataset.PatientID = "42"
    return dataset


def image() -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = CT
    dataset.SOPInstanceUID = INSTANCE
    dataset.file_meta = pynetdicom.dsutils.create_file_meta(
        sop_class_uid=CT, sop_instance_uid=INSTANCE, transfer_syntax=ImplicitVRLittleEndian
    )
    return dataset


def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
    yield 0xFF00, patient()
    yield 0xFF00, patient()
    yield 0x0000, None


SERVICES: dict[str, tuple[Any, Any, Any, Callable[[Association], object]]] = {
    "C-ECHO": (
        sop_class.Verification,
        evt.EVT_C_ECHO,
        lambda event: 0x0000,
        lambda scu: scu.send_c_echo(msg_id=0x0120),
    ),
    "C-STORE": (CT, evt.EVT_C_STORE, lambda event: 0x0000, lambda scu: scu.send_c_store(image())),
    "C-FIND": (FIND, evt.EVT_C_FIND, find, lambda scu: list(scu.send_c_find(patient(), FIND))),
    "N-CREATE": (
        MPPS,
        evt.EVT_N_CREATE,
        lambda event: (0x0000, event.attribute_list),
        lambda scu: scu.send_n_create(completed(), MPPS, INSTANCE),
    ),
    "N-GET": (
        UPS,
        evt.EVT_N_GET,
        lambda event: (0x0000, completed()),
        lambda scu: scu.send_n_get([0x00400252], UPS, INSTANCE, msg_id=0x8120),
    ),
    "N-ACTION": (
        UPS,
        evt.EVT_N_ACTION,
        lambda event: (0x0000, event.action_information),
        lambda scu: scu.send_n_action(completed(), 1, UPS, INSTANCE),
    ),
}


@pytest.mark.parametrize(("syntax", "event", "handler", "send"), SERVICES.values(), ids=SERVICES)
def test_other_services(server, both, caplog, syntax, event, handler, send):
    caplog.set_level(logging.DEBUG, "pynetdicom")

    def run():
        with associated(server, syntax, {event: handler}) as (scu, scp):
            seen = Seen(scu=scu, scp=scp)
            send(scu)  # as above
            caplog.clear()
            result = send(scu)
            log = sorted((record.name, record.getMessage()) for record in caplog.records)
            # The SCP of a C-FIND goes on sending while the SCU receives.
            return result, sorted(seen.messages, key=itemgetter(0)), seen.wire, log

    ours, stock = both(run)
    assert ours == stock


# -- Ends of associations -------------------------------------------------------------------------


def abort(event: evt.Event) -> None:
    event.assoc.abort()


def close(event: evt.Event) -> None:
    event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
    event.assoc.dul.join(TIMEOUT)


ENDS: dict[str, Callable[[evt.Event], Any]] = {
    "abort": abort,
    "closed connection": close,
    "exception": lambda event: 1 / 0,
    "release": lambda event: (0x0000, None),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_ends(server, both, end):
    def run():
        with associated(server, MPPS, {evt.EVT_N_SET: end}) as (scu, scp):
            status, answer = scu.send_n_set(completed(), MPPS, INSTANCE)
        return (
            *(elements(status), answer),
            *(scu.is_aborted, scu.is_released, scu.is_established),
            *(scp.is_aborted, scp.is_released, scp.is_established),
        )

    ours, stock = both(run)
    assert ours == stock


def test_the_dimse_timeout(server, both):
    def run():
        timed_out = threading.Event()

        def handle(event):
            timed_out.wait(TIMEOUT)
            return 0x0000, None

        with associated(server, MPPS, {evt.EVT_N_SET: handle}) as (scu, scp):
            scu.dimse_timeout = 0.2
            status, answer = scu.send_n_set(completed(), MPPS, INSTANCE)
            timed_out.set()
        return elements(status), answer, scu.is_aborted, scp.is_aborted

    ours, stock = both(run)
    assert ours == stock == ([], None, True, True)


def test_install_and_uninstall_amid_messages(nset, server, integration):
    """Fragments keep coming while nset is installed and uninstalled: no message is lost."""
    received = []

    def handle(event):
        received.append(event.modification_list)
        return 0x0000, event.modification_list

    with with_lengths(server, {evt.EVT_N_SET: handle}, 64, 64) as (scu, scp):

        def toggle(event):
            (integration.uninstall if integration.is_installed() else integration.install)()

        scp.bind(evt.EVT_DATA_RECV, toggle)
        scu.bind(evt.EVT_DATA_RECV, toggle)
        for number in range(5):
            status, answer = scu.send_n_set(completed(), MPPS, INSTANCE, msg_id=number)
            assert status.Status == 0x0000
            assert answer == completed()
    assert received == [completed()] * 5
