"""``nset.pynetdicom``: nset inside pynetdicom's own SCP and SCU, and out again."""

import contextlib
import copy
import functools
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType

import pynetdicom
import pytest
from associations import (
    INSTANCE,
    MPPS,
    PRINT,
    RT,
    UPS,
    associated,
    completed,
    context_id,
    exchange,
    fields,
    listening,
    make_request,
    make_response,
    receive,
    status_dataset,
)
from pydicom.dataset import Dataset
from pynetdicom import (
    _handlers,
    acse,
    association,
    dimse,
    dimse_messages,
    dimse_primitives,
    dul,
    evt,
    service_class,
    service_class_n,
    sop_class,
)
from together import run_together

MODULES = (
    dimse_primitives,
    association,
    service_class,
    service_class_n,
    dimse,
    dimse_messages,
)
STOCK = dimse_primitives.N_SET


SOP_CLASSES = (MPPS, UPS, PRINT, RT)


@pytest.fixture(params=[True, False], ids=["uninstall", "install"])
def installed_first(request: pytest.FixtureRequest) -> bool:
    """In which order two states of nset follow upon each other."""
    return request.param


def state(integration: ModuleType, installed: bool) -> contextlib.AbstractContextManager[None]:
    return integration.installed() if installed else contextlib.nullcontext()


@pytest.fixture(autouse=True)
def _pynetdicom_is_left_alone() -> Iterator[None]:
    yield
    assert all(module.N_SET is STOCK for module in MODULES)


# -- What is changed, and that it is changed back --------------------------------------------------


def snapshot() -> dict[str, list[tuple[object, object]]]:
    """Everything in pynetdicom that can be replaced, in order.

    That is what modules, classes, functions and containers hold, each under its path.
    """
    found: dict[str, list[tuple[object, object]]] = {}
    seen: set[int] = set()

    def is_pynetdicoms(name: object) -> bool:
        return isinstance(name, str) and name.partition(".")[0] == "pynetdicom"

    def visit(path: str, value: object) -> None:
        if isinstance(value, type) and is_pynetdicoms(value.__module__):
            # `copy` keeps the names of slots with a class when it first copies an instance.
            items = [item for item in vars(value).items() if item[0] != "__slotnames__"]
        elif isinstance(value, FunctionType) and is_pynetdicoms(value.__module__):
            items = [
                (name, getattr(value, name))
                for name in ("__code__", "__defaults__", "__kwdefaults__", "__dict__")
            ]
        elif isinstance(value, dict) and len(value) < 1000:  # longer: tables of status codes
            items = list(value.items())
        elif isinstance(value, list):
            items = list(enumerate(value))
        else:
            return
        if id(value) not in seen:
            seen.add(id(value))
            found[path] = items
            for key, item in items:
                visit(f"{path}.{key}", item)

    for name, module in list(sys.modules.items()):
        if is_pynetdicoms(name) and module is not None:
            items = [item for item in vars(module).items() if item[0] != "__builtins__"]
            found[name] = items
            for key, value in items:
                visit(f"{name}.{key}", value)
    return found


def changes(
    before: dict[str, list[tuple[object, object]]], after: dict[str, list[tuple[object, object]]]
) -> list[str]:
    """The paths of whatever does not hold the same objects in the same order."""
    return [
        path
        for path in before.keys() | after.keys()
        if [(id(key), id(value)) for key, value in before.get(path, ())]
        != [(id(key), id(value)) for key, value in after.get(path, ())]
    ]


def test_every_place(nset, integration):
    integration.install()
    assert [module.N_SET for module in MODULES] == [nset.N_SET] * 6
    assert dimse._RQ_TO_MESSAGE[nset.N_SET] is dimse_messages.N_SET_RQ
    assert dimse._RSP_TO_MESSAGE[nset.N_SET] is dimse_messages.N_SET_RSP
    assert dimse_messages._MSG_TO_PRIMITVE["N_SET"] is nset.N_SET
    # Made before, or by a module that has the stock class by name
    assert dimse._RQ_TO_MESSAGE[STOCK] is dimse_messages.N_SET_RQ
    assert dimse._RSP_TO_MESSAGE[STOCK] is dimse_messages.N_SET_RSP


def test_both_classes_know_nsets_primitives(nset, integration):
    """Whenever a module has taken N_SET from pynetdicom, it is the class of what it is given."""
    N_SET = nset.N_SET
    primitive = N_SET()
    for _ in range(2):
        with integration.installed():
            assert dimse_primitives.N_SET is primitive.__class__ is type(primitive) is N_SET
            assert {dimse_primitives.N_SET: "found"}[primitive.__class__] == "found"
            for cls in (N_SET, STOCK, dimse_primitives.DIMSEPrimitive):
                assert isinstance(primitive, cls)
                assert issubclass(primitive.__class__, cls)
            assert not isinstance(STOCK(), N_SET)
            primitive.__class__ = primitive.__class__
            assert type(primitive) is N_SET
            assert type(copy.copy(primitive)) is N_SET
            assert type(pickle.loads(pickle.dumps(primitive))) is N_SET
        assert primitive.__class__ is STOCK
        assert isinstance(primitive, STOCK)


@pytest.mark.parametrize("registered", ["before", "after", "nset's"])
def test_functions_by_class_know_nsets_primitives(nset, integration, server, registered):
    function = functools.singledispatch(lambda primitive: "something")
    if registered == "before":
        function.register(dimse_primitives.N_SET, lambda primitive: "an N-SET")
    integration.install()
    if registered != "before":
        cls = dimse_primitives.N_SET if registered == "after" else nset.N_SET
        function.register(cls, lambda primitive: "an N-SET")
    found = []

    def handle(event):
        found.append(function(event.request))
        return 0x0000, None

    with associated(server, MPPS, {evt.EVT_N_SET: handle}) as (requestor, _):
        requestor.send_n_set(completed(), MPPS, INSTANCE)
    assert found == ["an N-SET"]


@pytest.mark.parametrize("nodelay", [True, False])
def test_undone_exactly(integration, nodelay):
    before = snapshot()
    integration.install(nodelay=nodelay)
    during = snapshot()
    assert {
        *("pynetdicom.association", "pynetdicom.service_class", "pynetdicom.service_class_n"),
        *("pynetdicom.dimse_primitives", "pynetdicom.dimse", "pynetdicom.dimse_messages"),
        *("pynetdicom.dimse._RQ_TO_MESSAGE", "pynetdicom.dimse._RSP_TO_MESSAGE"),
        "pynetdicom.dimse_messages._MSG_TO_PRIMITVE",
    } <= set(changes(before, during))
    integration.uninstall()
    assert changes(before, snapshot()) == []


def test_undone_exactly_after_use(integration, server):
    def serve() -> None:
        with associated(server, MPPS, {evt.EVT_N_SET: lambda event: (0x0000, None)}) as (scu, _):
            scu.send_n_set(completed(), MPPS, INSTANCE)

    serve()
    before = snapshot()
    with integration.installed():
        serve()
    assert changes(before, snapshot()) == []


def test_twice_is_once(integration):
    before = snapshot()
    integration.uninstall()
    assert not integration.is_installed()
    integration.install()
    during = snapshot()
    integration.install()
    assert integration.is_installed()
    assert changes(during, snapshot()) == []
    integration.uninstall()
    assert not integration.is_installed()
    assert changes(before, snapshot()) == []
    integration.uninstall()
    assert changes(before, snapshot()) == []


def test_installed_restores_what_it_found(integration):
    before = snapshot()
    with integration.installed():
        assert integration.is_installed()
        with integration.installed():
            assert integration.is_installed()
        assert integration.is_installed()
    assert not integration.is_installed()
    assert changes(before, snapshot()) == []

    integration.install()
    with integration.installed():
        pass
    assert integration.is_installed()
    with integration.installed():
        integration.uninstall()
    assert integration.is_installed()

    integration.uninstall()
    with pytest.raises(KeyError), integration.installed():
        raise KeyError
    assert not integration.is_installed()
    with integration.installed():
        integration.uninstall()
    assert not integration.is_installed()
    assert changes(before, snapshot()) == []


def test_installs_in_a_pynetdicom_that_is_not_loaded_yet(nset):
    script = """if True:
        import sys
        import nset.pynetdicom
        assert "pynetdicom" not in sys.modules
        assert not nset.pynetdicom.is_installed()
        nset.pynetdicom.install()
        import pynetdicom.association
        import pynetdicom.dimse_primitives
        assert pynetdicom.association.N_SET is nset.N_SET
        assert nset.N_SET().__class__ is nset.N_SET
        nset.pynetdicom.uninstall()
        stock = nset.N_SET().__class__
        assert stock is not nset.N_SET
        assert pynetdicom.association.N_SET is pynetdicom.dimse_primitives.N_SET is stock
        """
    environment = os.environ | {"NSET_IMPLEMENTATION": nset.IMPLEMENTATION}
    subprocess.run([sys.executable, "-c", script], env=environment, timeout=60, check=True)


# -- Which pynetdicom ------------------------------------------------------------------------------


def as_in_pynetdicom_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rename the private dict, in the module and in the code that uses it."""
    monkeypatch.setattr(pynetdicom, "__version__", "3.1.0.dev0")
    table = dimse_messages._MSG_TO_PRIMITVE
    monkeypatch.delattr(dimse_messages, "_MSG_TO_PRIMITVE")
    monkeypatch.setattr(dimse_messages, "_MSG_TO_PRIMITIVE", table, raising=False)
    function = dimse_messages.DIMSEMessage.message_to_primitive
    names = {"_MSG_TO_PRIMITVE": "_MSG_TO_PRIMITIVE"}
    renamed = tuple(names.get(name, name) for name in function.__code__.co_names)
    assert renamed != function.__code__.co_names
    monkeypatch.setattr(function, "__code__", function.__code__.replace(co_names=renamed))


def test_either_spelling_of_the_private_dict(nset, integration, server, monkeypatch):
    as_in_pynetdicom_main(monkeypatch)
    before = snapshot()
    with integration.installed():
        assert dimse_messages._MSG_TO_PRIMITIVE["N_SET"] is nset.N_SET
        assert not hasattr(dimse_messages, "_MSG_TO_PRIMITVE")
        requests = []

        def handle(event):
            requests.append(type(event.request))
            return 0x0000, None

        with associated(server, MPPS, {evt.EVT_N_SET: handle}) as (requestor, _):
            status, _ = requestor.send_n_set(completed(), MPPS, INSTANCE)
        assert status.Status == 0x0000
        assert requests == [nset.N_SET]
    assert changes(before, snapshot()) == []


@pytest.mark.parametrize("version", ["3.0.0", "3.0.4", "3.0.99", "3.1.0", "3.1.0.dev0"])
def test_a_version_that_it_knows(integration, monkeypatch, version):
    monkeypatch.setattr(pynetdicom, "__version__", version)
    with integration.installed():
        assert integration.is_installed()


def refused(integration: ModuleType, text: str) -> None:
    """Check that nset can't be installed, and that nothing has been changed."""
    before = snapshot()
    with pytest.raises(RuntimeError, match=rf"nset can't be installed in pynetdicom .*{text}"):
        integration.install()
    assert not integration.is_installed()
    with pytest.raises(RuntimeError), integration.installed():
        pass
    assert changes(before, snapshot()) == []


@pytest.mark.parametrize("version", ["2.0.2", "2.1.1", "3.2.0", "4.0.0", "30.1.0", "", "main"])
def test_a_version_that_it_does_not_know(integration, monkeypatch, version):
    monkeypatch.setattr(pynetdicom, "__version__", version)
    refused(integration, f"{version}: not a version that nset was made for")


def test_a_pynetdicom_without_a_version(integration, monkeypatch):
    monkeypatch.delattr(pynetdicom, "__version__")
    refused(integration, "of unknown version: not a version that nset was made for")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[1])
def test_another_class_in_a_module(integration, monkeypatch, module):
    with monkeypatch.context() as patch:
        patch.setattr(module, "N_SET", type("N_SET", (STOCK,), {}))
        refused(integration, "N_SET is not its N-SET primitive")
    with monkeypatch.context() as patch:
        patch.delattr(module, "N_SET")
        refused(integration, "N_SET is not its N-SET primitive")
    with integration.installed():
        assert module.N_SET is not STOCK


@pytest.mark.parametrize("name", ["_RQ_TO_MESSAGE", "_RSP_TO_MESSAGE"])
def test_another_table_of_messages(integration, monkeypatch, name):
    with monkeypatch.context() as patch:
        patch.delattr(dimse, name)
        refused(integration, f"dimse.{name} does not hold its N-SET primitive")
    with monkeypatch.context() as patch:
        patch.setattr(dimse, name, lambda primitive: None)
        refused(integration, f"dimse.{name} does not hold its N-SET primitive")
    with monkeypatch.context() as patch:
        table = getattr(dimse, name)
        patch.setattr(dimse, name, {key: table[key] for key in table if key is not STOCK})
        refused(integration, f"dimse.{name} does not hold its N-SET primitive")


def test_another_table_of_primitives(integration, monkeypatch):
    with monkeypatch.context() as patch:
        patch.delattr(dimse_messages, "_MSG_TO_PRIMITVE")
        refused(integration, "dimse_messages has no table of primitives that holds N_SET")
    with monkeypatch.context() as patch:
        patch.setattr(dimse_messages, "_MSG_TO_PRIMITVE", {"N_SET": object})
        refused(integration, "dimse_messages has no table of primitives that holds N_SET")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (dimse_messages, "N_SET_RQ"),
        (dimse_messages, "N_SET_RSP"),
        (dimse_messages, "DIMSEMessage"),
        (dimse_messages.DIMSEMessage, "decode_msg"),
        (dimse_messages.DIMSEMessage, "encode_msg"),
        (dimse_messages.DIMSEMessage, "message_to_primitive"),
        (dimse_messages.DIMSEMessage, "primitive_to_message"),
        (dimse.DIMSEServiceProvider, "receive_primitive"),
        (association.Association, "_serve_request"),
        (association, "uid_to_service_class"),
        (association.Association, "_wrap_find_responses"),
        (association.Association, "send_c_store"),
        (service_class.ServiceClass, "_wrap_handler"),
        (dimse.DIMSEServiceProvider, "send_msg"),
        (dimse, "make_target"),
        (acse.ACSE, "is_release_requested"),
        (_handlers, "_recv_n_set_rq"),
        (_handlers, "_send_n_set_rsp"),
    ],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_a_place_of_the_codec_that_is_not_there(integration, monkeypatch, owner, name):
    monkeypatch.delattr(owner, name)
    refused(integration, f" has no (class )?{name}")


@pytest.mark.parametrize("module", [association, dul], ids=lambda module: module.__name__)
def test_a_reactor_that_sleeps_otherwise(integration, monkeypatch, module):
    monkeypatch.setattr(module, "time", None)
    refused(integration, f"{module.__name__.split('.')[1]} does not sleep by the module time")


def test_a_module_that_is_not_there(integration, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynetdicom.service_class_n", None)
    before = snapshot()
    with pytest.raises(RuntimeError, match="it has no module service_class_n"):
        integration.install()
    assert changes(before, snapshot()) == []


def test_no_pynetdicom(integration, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynetdicom", None)
    with pytest.raises(ImportError, match="pynetdicom"):
        integration.install()
    assert not integration.is_installed()


# -- In service ------------------------------------------------------------------------------------


def test_a_procedure_step_is_created_and_completed(nset, integration, server):
    """MPPS: N-CREATE and then N-SET, pynetdicom as SCP and as SCU."""
    steps, requests = {}, []

    def create(event):
        steps[event.request.AffectedSOPInstanceUID] = event.attribute_list
        return 0x0000, event.attribute_list

    def update(event):
        requests.append(event.request)
        step = steps[event.request.RequestedSOPInstanceUID]
        step.update(event.modification_list)
        return 0x0000, step

    started = Dataset()
    started.PerformedProcedureStepID = "PPS-1"
    started.PerformedProcedureStepStatus = "IN PROGRESS"
    started.PatientName = "Yamada^Tarou"

    integration.install()
    handlers = {evt.EVT_N_CREATE: create, evt.EVT_N_SET: update}
    with associated(server, MPPS, handlers) as (requestor, _):
        status, _ = requestor.send_n_create(started, MPPS, INSTANCE)
        assert status.Status == 0x0000
        status, answer = requestor.send_n_set(completed(), MPPS, INSTANCE, msg_id=9)
    assert status.Status == 0x0000
    assert answer == steps[INSTANCE]
    assert answer.PerformedProcedureStepStatus == "COMPLETED"
    assert answer.PerformedSeriesSequence == completed().PerformedSeriesSequence
    assert answer.PatientName == "Yamada^Tarou"

    (request,) = requests
    assert type(request) is nset.N_SET
    assert isinstance(request, STOCK)
    assert request.MessageID == 9
    assert request.RequestedSOPClassUID == MPPS
    assert request.is_valid_request


@pytest.mark.parametrize(
    ("context", "class_uid", "meta_uid"),
    [
        (MPPS, MPPS, None),
        # The SCP serves it by the context of Pull that was accepted
        (UPS, sop_class.UnifiedProcedureStepPush, None),
        (PRINT, sop_class.BasicFilmBox, PRINT),
        (RT, RT, None),
    ],
    ids=["MPPS", "UPS", "print", "RT"],
)
def test_every_service_class(nset, integration, server, context, class_uid, meta_uid):
    requests = []

    def handle(event):
        requests.append((type(event.request), event.modification_list))
        return 0x0000, completed()

    integration.install()
    with associated(server, context, {evt.EVT_N_SET: handle}) as (requestor, _):
        status, answer = requestor.send_n_set(completed(), class_uid, INSTANCE, meta_uid=meta_uid)
    assert status.Status == 0x0000
    assert answer == completed()
    assert requests == [(nset.N_SET, completed())]


ANSWERS = {
    "success": (0x0000, completed()),
    "success, no data set": (0x0000, None),
    "success, empty data set": (0x0000, Dataset()),
    "warning": (0x0107, completed()),
    "warning with attributes": (
        status_dataset(Status=0x0107, AttributeIdentifierList=[0x00400252, 0x00400250]),
        completed(),
    ),
    "failure with a comment": (
        status_dataset(Status=0x0110, ErrorComment="Disk full", ErrorID=28),
        None,
    ),
    "failure, data set left out": (0x0106, completed()),
    "unknown status": (0xFFF0, None),
    "no status": (None, None),
    "a data set without a status": (Dataset(), None),
    "an exception": ValueError("no such step"),
}


@pytest.mark.parametrize("context", [MPPS, UPS], ids=["MPPS", "UPS"])
def test_handlers_have_the_same_effect_as_ever(integration, server, context):
    """Whatever a handler answers, the SCU gets what it gets without nset."""

    def handle(event):
        answer = list(ANSWERS.values())[event.message_id]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def received():
        with associated(server, context, {evt.EVT_N_SET: handle}) as (requestor, _):
            return [
                requestor.send_n_set(completed(), context, INSTANCE, msg_id=number)
                for number in range(len(ANSWERS))
            ]

    with integration.installed():
        ours = received()
    for name, with_nset, without in zip(ANSWERS, ours, received(), strict=True):
        assert with_nset == without, name
    assert ours[0] == (status_dataset(Status=0x0000), completed())


def test_handlers_of_messages_see_a_command_set(integration, server):
    """And on both sides the one that they see without nset."""
    seen = []

    def see(event):
        assert isinstance(event.message.command_set, Dataset)
        seen.append((event.event.name, type(event.message), str(event.message.command_set)))

    def seen_by_both_sides():
        seen.clear()
        handlers = {
            evt.EVT_N_SET: lambda event: (0x0107, completed()),
            evt.EVT_DIMSE_RECV: see,
            evt.EVT_DIMSE_SENT: see,
        }
        with associated(server, MPPS, handlers) as (requestor, _):
            requestor.bind(evt.EVT_DIMSE_RECV, see)
            requestor.bind(evt.EVT_DIMSE_SENT, see)
            requestor.send_n_set(completed(), MPPS, INSTANCE)
        return sorted(seen, key=str)

    with integration.installed():
        ours = seen_by_both_sides()
    assert ours == seen_by_both_sides()
    assert len(ours) == 4


def test_messages_can_be_read_after_uninstall(integration, server):
    """A program may keep the events that it was given."""
    messages = []
    handlers = {
        evt.EVT_N_SET: lambda event: (0x0112, None),
        evt.EVT_DIMSE_RECV: lambda event: messages.append(event.message),
        evt.EVT_DIMSE_SENT: lambda event: messages.append(event.message),
    }
    with integration.installed(), associated(server, MPPS, handlers) as (requestor, _):
        requestor.send_n_set(completed(), MPPS, INSTANCE)
    request, response = messages
    assert request.command_set.RequestedSOPInstanceUID == INSTANCE
    assert response.command_set.Status == 0x0112


def test_stock_messages_made_earlier_are_sent_and_served(integration, server):
    served = []

    def handle(event):
        assert isinstance(event.request, STOCK)
        served.append(event.modification_list)
        return 0x0000, None

    request, waiting = make_request(STOCK), make_request(STOCK)
    integration.install()
    with associated(server, MPPS, {evt.EVT_N_SET: handle}) as (requestor, acceptor):
        assert exchange(requestor, request).Status == 0x0000
        with listening(requestor):
            # Received before, and its turn comes now
            acceptor.dimse.msg_queue.put((context_id(acceptor), waiting))
            assert receive(requestor).Status == 0x0000
    assert served == [completed(), completed()]


def test_nset_messages_made_earlier_are_sent_and_served(nset, integration, server):
    """The other way round: what was made while nset was installed outlives that."""
    served = []

    def handle(event):
        served.append(type(event.request))
        return 0x0000, None

    with associated(server, MPPS, {evt.EVT_N_SET: handle}) as (requestor, acceptor):
        with integration.installed():
            request = make_request(dimse_primitives.N_SET)
        assert type(request) is nset.N_SET
        assert exchange(requestor, request).Status == 0x0000
        with listening(requestor):
            acceptor.dimse.msg_queue.put((context_id(acceptor), request))
            assert receive(requestor).Status == 0x0000
    assert served == [STOCK, nset.N_SET]


def test_a_message_that_is_half_received(integration, installed_first):
    """Nset is installed, or uninstalled, between the command set and the data set."""
    stock = dimse_messages.N_SET_RQ()
    stock.primitive_to_message(make_request(STOCK))
    command_set, data_set = stock.encode_msg(1, 16382)
    message = dimse_messages.DIMSEMessage()
    with state(integration, installed_first):
        assert not message.decode_msg(command_set)
    with state(integration, not installed_first):
        assert message.decode_msg(data_set)
        assert fields(message.message_to_primitive()) == fields(make_request(STOCK))


@pytest.mark.parametrize("make", [make_request, make_response])
@pytest.mark.parametrize("step", ["made", "filled"])
def test_a_message_that_is_half_sent(integration, installed_first, make, step):
    """Nset is installed, or uninstalled, before a message is filled or encoded."""
    cls = {make_request: dimse_messages.N_SET_RQ, make_response: dimse_messages.N_SET_RSP}[make]
    stock = cls()
    stock.primitive_to_message(make(STOCK))
    with state(integration, installed_first):
        message = cls()
        if step == "filled":
            message.primitive_to_message(make(dimse_primitives.N_SET))
    with state(integration, not installed_first):
        if step == "made":
            message.primitive_to_message(make(dimse_primitives.N_SET))
        assert pdvs(message) == pdvs(stock)


def pdvs(message) -> list[tuple[int, bytes]]:
    return [
        pdv for pdata in message.encode_msg(1, 16382) for pdv in pdata.presentation_data_value_list
    ]


# -- Threads ---------------------------------------------------------------------------------------


def test_install_and_uninstall_from_many_threads(nset, integration):
    before = snapshot()

    def job(seed: int) -> None:
        choose = random.Random(seed).choice
        for _ in range(30):
            choose([integration.install, integration.uninstall, use])()

    def use() -> None:
        with integration.installed():
            # Whatever is in force, both classes can be made and sent
            for primitive in (nset.N_SET(), STOCK()):
                assert isinstance(primitive, STOCK)
                assert dimse._RQ_TO_MESSAGE[primitive.__class__] is dimse_messages.N_SET_RQ

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        run_together(*(lambda seed=seed: job(seed) for seed in range(6)))
    finally:
        sys.setswitchinterval(interval)
    integration.uninstall()
    assert changes(before, snapshot()) == []
