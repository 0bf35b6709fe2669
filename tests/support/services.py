"""What an SCU may ask of an SCP, for acceptors to be compared: the same handlers, the same answers.

A scenario is a function that is given a `Place` and makes an `Exchange` for it; `observed` runs one
against a server, whoever's it is, and gives all that either side has got to see.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from acceptors import accepting, one_pdu, port, until
from associations import INSTANCE, MPPS, PRINT, TIMEOUT, UPS, completed
from implementations import IMPLEMENTATIONS
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import (
    AE,
    build_context,
    build_role,
    dimse_messages,
    dimse_primitives,
    evt,
    sop_class,
)
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

CT = sop_class.CTImageStorage
ECHO = sop_class.Verification
COMMITMENT = sop_class.StorageCommitmentPushModel
FIND = sop_class.PatientRootQueryRetrieveInformationModelFind
GET = sop_class.PatientRootQueryRetrieveInformationModelGet
MOVE = sop_class.PatientRootQueryRetrieveInformationModelMove

SYNTAXES = (CT, ECHO, COMMITMENT, FIND, GET, MOVE, MPPS, UPS, PRINT)


def everything() -> AE:
    """An AE that supports all of this, also as SCU where that is asked for."""
    ae = AE("NSET")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = TIMEOUT
    for syntax in SYNTAXES:
        ae.add_supported_context(syntax, scu_role=True, scp_role=True)
    return ae


@contextmanager
def stock_server(handlers: list[Any] | None = None, ae: AE | None = None) -> Iterator[Any]:
    """Run pynetdicom's own server on a free port."""
    server = (ae or everything()).start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server
    finally:
        server.shutdown()


@contextmanager
def associated(
    nset: ModuleType,
    handlers: list[Any] | None,
    *syntaxes: str,
    own_handlers: Iterable[Any] = (),
    ext_neg: Iterable[Any] = (),
    **options: Any,
) -> Iterator[tuple[Any, Any, Any]]:
    """A server, a stock association with it, and the acceptor's side of that."""
    ae = everything()
    contexts = [build_context(syntax, ImplicitVRLittleEndian) for syntax in syntaxes]
    with accepting(nset, handlers, ae, **options) as server:
        assoc = ae.associate(
            *("127.0.0.1", port(server), contexts),
            evt_handlers=list(own_handlers),
            ext_neg=list(ext_neg),
        )
        assert assoc.is_established
        (acceptor,) = server.active_associations
        try:
            yield server, assoc, acceptor
        finally:
            assoc.release()


class Place(NamedTuple):
    """Where it happens: what handlers have noted, and an SCP of images."""

    seen: list[Any]
    destination: Any


class Exchange(NamedTuple):
    """The acceptor's handlers, and what the requestor does."""

    handlers: dict[Any, Callable[..., Any]]
    ask: Callable[[Any], Any]
    syntaxes: tuple[Any, ...]
    own_handlers: tuple[Any, ...] = ()
    ext_neg: tuple[Any, ...] = ()


def observed(
    server: Any,
    destination: Any,
    scenario: Callable[[Place], Exchange],
    change: Callable[[Any], Any] = lambda handler: handler,
) -> tuple[Any, list[Any]]:
    """Run a scenario with changed handlers; give what the requestor got and the handlers saw."""
    place = Place([], destination)
    exchange = scenario(place)
    handlers = {event: change(handler) for event, handler in exchange.handlers.items()}
    for event, handler in handlers.items():
        server.bind(event, handler)
    ae = AE("SCU")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = TIMEOUT
    try:
        assoc = ae.associate(
            *server.server_address[:2],
            [build_context(syntax, ImplicitVRLittleEndian) for syntax in exchange.syntaxes],
            evt_handlers=list(exchange.own_handlers),
            ext_neg=list(exchange.ext_neg),
        )
        got = exchange.ask(assoc)
        assoc.release()
        if assoc.ident is not None:  # else it was rejected, and no thread has been started
            assoc.join(TIMEOUT)
        return (got, (assoc.is_aborted, assoc.is_rejected)), place.seen
    finally:
        for event, handler in handlers.items():
            server.unbind(event, handler)


def echo_pdu() -> bytes:
    """A C-ECHO request in context 1, for a raw peer."""
    request = dimse_primitives.C_ECHO()
    request.MessageID = 1
    request.AffectedSOPClassUID = ECHO
    message = dimse_messages.C_ECHO_RQ()
    message.primitive_to_message(request)
    (data,) = message.encode_msg(1, 16382)
    ((_, fragment),) = data.presentation_data_value_list
    return one_pdu(fragment[1:])


def as_async(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same as a coroutine function, or an asynchronous generator, that waits in between."""
    if inspect.isgeneratorfunction(function):

        async def handler(event, *args):
            items = function(event, *args)
            while True:
                # Some wait for the peer.
                item = await asyncio.to_thread(next, items, None)
                if item is None:
                    return
                yield item

    else:

        async def handler(event, *args):
            await asyncio.sleep(0)
            return function(event, *args)

    return handler


KINDS: dict[str, Callable[[Any], Any]] = {"plain": lambda handler: handler, "async": as_async}

# What pynetdicom's code does on either implementation is enough to see once with each kind.
ONCE = pytest.mark.parametrize(
    ("nset", "kind"),
    [(IMPLEMENTATIONS[0], "plain"), (IMPLEMENTATIONS[-1], "async")],
    indirect=["nset"],
)


def failure(code: int, comment: str = "Out of paper") -> Dataset:
    status = Dataset()
    status.Status, status.ErrorComment = code, comment
    return status


def image(number: int = 1, pixels: bytes = b"\1\2") -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT, f"{INSTANCE}.{number}"
    dataset.PatientName, dataset.PatientID = "Store^Me", "1"
    dataset.BitsAllocated = 16
    dataset["PixelData"] = _pixels(pixels)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return dataset


def _pixels(value: bytes) -> Any:
    dataset = Dataset()
    dataset.add_new("PixelData", "OW", value)
    return dataset["PixelData"]


def query() -> Dataset:
    dataset = Dataset()
    dataset.QueryRetrieveLevel, dataset.PatientName, dataset.PatientID = "PATIENT", "*", ""
    return dataset


def patient(number: int) -> Dataset:
    dataset = query()
    dataset.PatientName, dataset.PatientID = f"Found^{number}", str(number)
    return dataset


# -- Services with one response --------------------------------------------------------------------


class Service(NamedTuple):
    """A service that a handler answers by what it returns."""

    event: Any
    syntax: Any
    ask: Callable[[Any], Any]
    see: Callable[[Any], Any]
    failure: int
    has_data: bool


def _request_data(event: Any) -> Any:
    request = event.request
    uids = [
        getattr(request, f"{whose}SOP{what}UID", None)
        for whose in ("Affected", "Requested")
        for what in ("Class", "Instance")
    ]
    return (event.message_id, *uids, event.context, event.assoc.is_established)


SINGLE = {
    "C-ECHO": Service(
        evt.EVT_C_ECHO,
        ECHO,
        lambda assoc: assoc.send_c_echo(7),
        _request_data,
        0x0122,
        has_data=False,
    ),
    "C-STORE": Service(
        evt.EVT_C_STORE,
        CT,
        lambda assoc: assoc.send_c_store(image(), 7, priority=1, originator_aet="ELSE"),
        lambda event: (*_request_data(event), event.dataset, event.request.Priority),
        0xA700,
        has_data=False,
    ),
    "N-CREATE": Service(
        evt.EVT_N_CREATE,
        MPPS,
        lambda assoc: assoc.send_n_create(completed(), MPPS, INSTANCE, 7),
        lambda event: (*_request_data(event), event.attribute_list),
        0x0111,
        has_data=True,
    ),
    "N-GET": Service(
        evt.EVT_N_GET,
        UPS,
        lambda assoc: assoc.send_n_get([(0x0010, 0x0010), 0x00100020], UPS, INSTANCE, 7),
        lambda event: (*_request_data(event), list(event.attribute_identifiers)),
        0x0112,
        has_data=True,
    ),
    "N-ACTION": Service(
        evt.EVT_N_ACTION,
        COMMITMENT,
        lambda assoc: assoc.send_n_action(completed(), 1, COMMITMENT, INSTANCE, 7),
        lambda event: (*_request_data(event), event.action_type, event.action_information),
        0x0112,
        has_data=True,
    ),
    "N-DELETE": Service(
        evt.EVT_N_DELETE,
        PRINT,
        lambda assoc: assoc.send_n_delete(sop_class.BasicFilmSession, INSTANCE, 7, meta_uid=PRINT),
        _request_data,
        0x0112,
        has_data=False,
    ),
    "N-EVENT-REPORT": Service(
        evt.EVT_N_EVENT_REPORT,
        COMMITMENT,
        lambda assoc: assoc.send_n_event_report(completed(), 2, COMMITMENT, INSTANCE, 7),
        lambda event: (*_request_data(event), event.event_type, event.event_information),
        0x0112,
        has_data=True,
    ),
    "N-SET": Service(
        evt.EVT_N_SET,
        MPPS,
        lambda assoc: assoc.send_n_set(completed(), MPPS, INSTANCE, 7),
        lambda event: (*_request_data(event), event.modification_list),
        0x0112,
        has_data=True,
    ),
    "N-SET with a meta class": Service(
        evt.EVT_N_SET,
        PRINT,
        lambda assoc: assoc.send_n_set(
            completed(), sop_class.BasicGrayscaleImageBox, INSTANCE, 7, meta_uid=PRINT
        ),
        lambda event: (*_request_data(event), event.modification_list),
        0x0112,
        has_data=True,
    ),
}


def single(service: Service, *answers: Any) -> Callable[[Place], Exchange]:
    """Ask once for each answer of the handler; an exception is raised."""

    def scenario(place: Place) -> Exchange:
        left = list(answers)

        def handle(event):
            place.seen.append(service.see(event))
            answer = left.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        def ask(assoc):
            return [service.ask(assoc) for _ in answers]

        return Exchange({service.event: handle}, ask, (service.syntax,))

    return scenario


def answers_of(service: Service) -> tuple[Any, ...]:
    """What handlers may return, what they may not, and at last what pynetdicom aborts for."""
    failed = ValueError("database is gone")
    if not service.has_data:
        return 0x0000, service.failure, failure(service.failure), 0xFFF0, "x", failed, None
    # An N-SET that can't be answered costs an event-driven server no association.
    last = (0x0000, None) if service.event == evt.EVT_N_SET else None
    refused = (service.failure, None)
    return (0x0000, completed()), refused, (failure(0x0110), None), ("x", None), failed, last


# -- Services with many ----------------------------------------------------------------------------


def _ask_for(send: str, model: Any, cancel_after: int = 0, **options: Any) -> Callable[[Any], Any]:
    def ask(assoc):
        got = []
        for status, identifier in getattr(assoc, send)(
            query(), query_model=model, msg_id=7, **options
        ):
            got.append((status, identifier))
            if len(got) == cancel_after:
                assoc.send_c_cancel(7, query_model=model)
        return got

    return ask


def _until_cancelled(event: Any, place: Place) -> None:
    until(lambda: event.is_cancelled, "no C-CANCEL")
    place.seen.append("cancelled")


def find_several(place: Place) -> Exchange:
    def handle(event):
        place.seen.append((*_request_data(event), event.identifier, event.is_cancelled))
        for number in range(5):
            yield 0xFF00, patient(number)

    return Exchange({evt.EVT_C_FIND: handle}, _ask_for("send_c_find", FIND), (FIND,))


def find_none(place: Place) -> Exchange:
    def handle(event):
        yield from ()

    return Exchange({evt.EVT_C_FIND: handle}, _ask_for("send_c_find", FIND), (FIND,))


def find_raises(place: Place) -> Exchange:
    def handle(event):
        yield 0xFF00, patient(1)
        raise ValueError("database is gone")

    return Exchange({evt.EVT_C_FIND: handle}, _ask_for("send_c_find", FIND), (FIND,))


def find_raises_at_once(place: Place) -> Exchange:
    def handle(event):
        if event:
            raise ValueError("database is gone")
        yield 0x0000, None

    return Exchange({evt.EVT_C_FIND: handle}, _ask_for("send_c_find", FIND), (FIND,))


def find_fails(place: Place) -> Exchange:
    def handle(event):
        yield 0xFF01, patient(1)
        yield failure(0xA700), None

    return Exchange({evt.EVT_C_FIND: handle}, _ask_for("send_c_find", FIND), (FIND,))


def find_cancelled(place: Place) -> Exchange:
    def handle(event):
        yield 0xFF00, patient(1)
        yield 0xFF00, patient(2)
        _until_cancelled(event, place)
        yield 0xFE00, None

    ask = _ask_for("send_c_find", FIND, cancel_after=2)
    return Exchange({evt.EVT_C_FIND: handle}, ask, (FIND,))


def find_twice(place: Place) -> Exchange:
    def handle(event):
        for number in range(3):
            yield 0xFF00, patient(number)

    ask = _ask_for("send_c_find", FIND)
    return Exchange({evt.EVT_C_FIND: handle}, lambda assoc: [ask(assoc), ask(assoc)], (FIND,))


def _get(place: Place, handle: Any, store: Callable[[Any], int], cancel_after: int = 0) -> Exchange:
    def handle_store(event):
        place.seen.append(("stored", event.dataset.SOPInstanceUID))
        return store(event)

    return Exchange(
        {evt.EVT_C_GET: handle},
        _ask_for("send_c_get", GET, cancel_after),
        (GET, CT),
        ((evt.EVT_C_STORE, handle_store),),
        (build_role(CT, scp_role=True),),
    )


def get_two(place: Place) -> Exchange:
    def handle(event):
        place.seen.append((*_request_data(event), event.identifier))
        yield 2
        yield 0xFF00, image(1)
        yield 0xFF00, image(2, bytes(100_000))

    return _get(place, handle, lambda event: 0x0000)


def get_one_fails(place: Place) -> Exchange:
    def handle(event):
        yield 3
        for number in range(3):
            yield 0xFF00, image(number)

    return _get(
        place, handle, lambda event: 0xA700 if event.dataset.SOPInstanceUID[-1] == "1" else 0x0000
    )


def get_raises(place: Place) -> Exchange:
    def handle(event):
        yield 2
        yield 0xFF00, image(1)
        raise ValueError("database is gone")

    return _get(place, handle, lambda event: 0x0000)


def get_cancelled(place: Place) -> Exchange:
    def handle(event):
        yield 2
        yield 0xFF00, image(1)
        _until_cancelled(event, place)
        yield 0xFE00, None

    return _get(place, handle, lambda event: 0x0000, cancel_after=1)


def _move(place: Place, handle: Any, cancel_after: int = 0) -> Exchange:
    def ask(assoc):
        def store(event):
            place.seen.append(("moved", event.dataset.SOPInstanceUID))
            return 0x0000

        place.destination.bind(evt.EVT_C_STORE, store)
        try:
            return _ask_for("send_c_move", MOVE, cancel_after=cancel_after, move_aet="DESTINATION")(
                assoc
            )
        finally:
            place.destination.unbind(evt.EVT_C_STORE, store)

    return Exchange({evt.EVT_C_MOVE: handle}, ask, (MOVE,))


def _where(place: Place) -> tuple[Any, ...]:
    contexts = [build_context(CT, ImplicitVRLittleEndian)]
    return (*place.destination.server_address[:2], {"contexts": contexts})


def move_two(place: Place) -> Exchange:
    def handle(event):
        place.seen.append((*_request_data(event), event.identifier, event.move_destination))
        yield _where(place)
        yield 2
        yield 0xFF00, image(1)
        yield 0xFF00, image(2, bytes(100_000))

    return _move(place, handle)


def move_to_nobody(place: Place) -> Exchange:
    def handle(event):
        yield None, None

    return _move(place, handle)


def move_raises(place: Place) -> Exchange:
    def handle(event):
        yield _where(place)
        yield 2
        yield 0xFF00, image(1)
        raise ValueError("database is gone")

    return _move(place, handle)


def move_cancelled(place: Place) -> Exchange:
    def handle(event):
        yield _where(place)
        yield 3
        yield 0xFF00, image(1)
        _until_cancelled(event, place)
        yield 0xFE00, None

    return _move(place, handle, cancel_after=1)


MANY = (
    *(find_several, find_none, find_raises, find_raises_at_once, find_fails, find_cancelled),
    *(find_twice, get_two, get_one_fails, get_raises, get_cancelled),
    *(move_two, move_to_nobody, move_raises, move_cancelled),
)


# -- Negotiation -----------------------------------------------------------------------------------


def negotiated(assoc: Any) -> Any:
    """All that the requestor knows of what has become of its proposal."""
    primitive = assoc.acceptor.primitive
    return (
        assoc.is_established,
        (primitive.result, primitive.result_source, primitive.diagnostic),
        [
            (context.context_id, context.abstract_syntax, context.transfer_syntax, context.result)
            for context in assoc.accepted_contexts + assoc.rejected_contexts
        ],
        [(context.as_scu, context.as_scp) for context in assoc.accepted_contexts],
        sorted(
            (type(item).__name__, sorted(vars(item).items(), key=str))
            for item in primitive.user_information
        )
        if assoc.is_established
        else None,
    )


def _negotiate(
    *items: Any, handlers: dict[Any, Any] | None = None, syntaxes: tuple[Any, ...] = (CT, ECHO)
) -> Exchange:
    return Exchange(handlers or {}, negotiated, syntaxes, ext_neg=items)


def roles(place: Place) -> Exchange:
    return _negotiate(
        build_role(CT, scp_role=True),
        build_role(ECHO, scu_role=True, scp_role=True),
        build_role(MPPS, scu_role=True),
        syntaxes=(CT, ECHO, MPPS, FIND),
    )


def extended(place: Place) -> Exchange:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = CT, b"\2\0\3\0\1\0"

    def handle(event):
        place.seen.append(event.app_info)
        return {CT: b"\1\0", FIND: b"\7"}

    return _negotiate(item, handlers={evt.EVT_SOP_EXTENDED: handle})


def common(place: Place) -> Exchange:
    item = SOPClassCommonExtendedNegotiation()
    item.sop_class_uid = CT
    item.service_class_uid = "1.2.840.10008.4.2"
    item.related_general_sop_class_identification = [sop_class.MRImageStorage]

    def handle(event):
        place.seen.append([(uid, one.service_class_uid) for uid, one in event.items.items()])
        return event.items

    return _negotiate(item, handlers={evt.EVT_SOP_COMMON: handle})


def asynchronous(place: Place) -> Exchange:
    item = AsynchronousOperationsWindowNegotiation()
    item.maximum_number_operations_invoked = 5
    item.maximum_number_operations_performed = 3

    def handle(event):
        place.seen.append((event.nr_invoked, event.nr_performed))
        return 2, 2

    return _negotiate(item, handlers={evt.EVT_ASYNC_OPS: handle})


def user_identity(
    kind: int = 1, *, wants_answer: bool = False, user: bytes = b"me", password: bytes = b"x"
) -> Any:
    item = UserIdentityNegotiation()
    item.user_identity_type = kind
    item.primary_field = user
    if kind == 2:
        item.secondary_field = password
    item.positive_response_requested = wants_answer
    return item


def _identity(item: Any, answer: Any) -> Callable[[Place], Exchange]:
    def scenario(place: Place) -> Exchange:
        def handle(event):
            place.seen.append((event.user_id_type, event.primary_field, event.secondary_field))
            if isinstance(answer, Exception):
                raise answer
            return answer

        return _negotiate(item, handlers={evt.EVT_USER_ID: handle})

    return scenario


NEGOTIATIONS = {
    "plain": lambda place: _negotiate(),
    "what is not supported": lambda place: _negotiate(syntaxes=(sop_class.MRImageStorage,)),
    "roles": roles,
    "extended": extended,
    "common": common,
    "asynchronous": asynchronous,
    "user accepted": _identity(user_identity(), (True, None)),
    "user rejected": _identity(user_identity(2), (False, None)),
    "user answered": _identity(user_identity(3, wants_answer=True), (True, b"ticket")),
    "user fails": _identity(user_identity(2), ValueError("no such user")),
    "user unasked": lambda place: _negotiate(user_identity(3, wants_answer=True)),
}
