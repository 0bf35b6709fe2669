"""Every place in pynetdicom that `install` takes, and what goes there."""

import importlib
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Protocol

from nset._implementation import Primitive
from nset.primitive import N_SET, pynetdicom_class

_KNOWN_VERSIONS = ((3, 0), (3, 1))

# Where pynetdicom keeps a name of its own for the class.
_NAMES_OF_THE_CLASS = (
    "dimse_primitives",
    "association",
    "service_class",
    "service_class_n",
    "dimse",
    "dimse_messages",
)


class Place(Protocol):
    """Something that can be taken and given back."""

    def take(self) -> None:
        """Put nset's value there."""

    def give_back(self) -> None:
        """Put there what was there before, or nothing if there was nothing."""


class _Item:
    """An entry of a dict."""

    def __init__(self, mapping: dict[Any, Any], key: Any, value: Any) -> None:
        self._mapping, self._key, self._value = mapping, key, value
        self._was_there, self._before = key in mapping, mapping.get(key)

    def take(self) -> None:
        self._mapping[self._key] = self._value

    def give_back(self) -> None:
        if self._was_there:
            self._mapping[self._key] = self._before
        else:
            del self._mapping[self._key]


class _Attribute:
    """An attribute of a module or a class itself, not of its bases."""

    def __init__(self, owner: Any, name: str, value: Any) -> None:
        self._owner, self._name, self._value = owner, name, value
        self._was_there, self._before = name in vars(owner), vars(owner).get(name)

    def take(self) -> None:
        setattr(self._owner, self._name, self._value)

    def give_back(self) -> None:
        if self._was_there:
            setattr(self._owner, self._name, self._before)
        else:
            delattr(self._owner, self._name)


class _Base:
    """pynetdicom's class among the bases of nset's: `isinstance` goes on knowing its instances.

    For good, since `isinstance` looks at the type and then at `__class__`, and another thread may
    uninstall in between.
    """

    def __init__(self, base: type) -> None:
        self._base = base

    def take(self) -> None:
        if self._base not in N_SET.__bases__:
            N_SET.__bases__ = (Primitive, self._base)

    def give_back(self) -> None:
        pass


def places(*, nodelay: bool) -> list[Place]:
    """Look at every place, and change none.

    Parameters
    ----------
    nodelay : bool
        Whether sockets are among them.

    Returns
    -------
    list of Place
        In the order in which they are to be taken.

    Raises
    ------
    ImportError
        If pynetdicom is not there.
    RuntimeError
        If one of them is not as it should be.
    """
    package = importlib.import_module("pynetdicom")
    if _version(package) not in _KNOWN_VERSIONS:
        raise _unknown("not a version that nset was made for")
    found = [
        *_places_of_the_class(),
        *_places_of_the_codec(),
        *_places_of_the_reactors(),
        *_places_of_the_exchange(),
        *_places_of_the_negotiation(),
    ]
    if nodelay:
        from nset.pynetdicom import _socket

        found.append(_method("transport", "AssociationSocket", "__init__", _socket.init))
    return found


def _places_of_the_class() -> Iterator[Place]:
    modules = {name: _module(name) for name in _NAMES_OF_THE_CLASS}
    stock = pynetdicom_class()
    for name, module in modules.items():
        if vars(module).get("N_SET") is not stock:
            raise _unknown(f"{name}.N_SET is not its N-SET primitive")
    if stock is None:
        raise _unknown("it has no N-SET primitive")
    yield _Base(stock)
    for table in ("_RQ_TO_MESSAGE", "_RSP_TO_MESSAGE"):
        mapping = getattr(modules["dimse"], table, None)
        if not isinstance(mapping, dict) or stock not in mapping:
            raise _unknown(f"dimse.{table} does not hold its N-SET primitive")
        # Beside the stock class, not in its place: instances of that may be waiting to be sent.
        yield _Item(mapping, N_SET, mapping[stock])
    yield _Item(_table_of_primitives(modules["dimse_messages"], stock), "N_SET", N_SET)
    # Last, and given back first: what `__class__` answers by is in the tables.
    for module in modules.values():
        yield _Attribute(module, "N_SET", N_SET)


def _table_of_primitives(module: ModuleType, stock: type) -> dict[Any, Any]:
    # Spelled either way, by release.
    for table in ("_MSG_TO_PRIMITVE", "_MSG_TO_PRIMITIVE"):
        mapping = getattr(module, table, None)
        if isinstance(mapping, dict) and mapping.get("N_SET") is stock:
            return mapping
    raise _unknown("dimse_messages has no table of primitives that holds N_SET")


def _places_of_the_codec() -> Iterator[Place]:
    from nset.pynetdicom import _messages, _provider

    for method in ("decode_msg", "message_to_primitive"):
        yield _method("dimse_messages", "DIMSEMessage", method, getattr(_messages, method))
    for name in ("N_SET_RQ", "N_SET_RSP"):
        cls = _owner("dimse_messages", name)
        yield _Attribute(cls, "__init__", _messages.init)
        for method in ("primitive_to_message", "encode_msg"):
            yield _method("dimse_messages", name, method, getattr(_messages, method))
    yield _method("dimse", "DIMSEServiceProvider", "receive_primitive", _provider.receive_primitive)
    yield _method("association", "Association", "_serve_request", _provider.serve_request)
    yield _method("service_class", "ServiceClass", "validate_status", _provider.validate_status)
    yield _function("association", "uid_to_service_class", _provider.service_class)
    handlers = _module("_handlers")
    for name in ("_recv_n_set_rq", "_recv_n_set_rsp", "_send_n_set_rq", "_send_n_set_rsp"):
        stock = getattr(handlers, name, None)
        if stock is None or not hasattr(handlers, "LOGGER"):
            raise _unknown(f"_handlers has no {name}")
        yield _Attribute(handlers, name, _messages.where_enabled(handlers.LOGGER, stock))


def _places_of_the_reactors() -> Iterator[Place]:
    from nset.pynetdicom import _reactors

    for name in ("association", "dul"):
        module = _module(name)
        if vars(module).get("time") is not time:
            raise _unknown(f"{name} does not sleep by the module time")
        yield _Attribute(module, "time", _reactors.Clock())
    yield _method("association", "Association", "__init__", _reactors.init)
    yield _method("dul", "DULServiceProvider", "kill_dul", _reactors.kill_dul)
    yield _method("dul", "DULServiceProvider", "_read_pdu_data", _reactors.read_pdu_data)
    yield _method("transport", "AssociationSocket", "recv", _reactors.recv)


def _places_of_the_exchange() -> Iterator[Place]:
    from nset.pynetdicom import _exchange

    for name in ("get_msg", "send_msg"):
        yield _method("dimse", "DIMSEServiceProvider", name, getattr(_exchange, name))
    for name in ("_wrap_find_responses", "_wrap_get_move_responses"):
        yield _method("association", "Association", name, _exchange.keep_asking)
    association = _owner("association", "Association")
    yield _Attribute(association, "_is_paused", _exchange.IsPaused())
    yield _method("association", "Association", "_run_reactor", _exchange.run_reactor)
    yield _method("acse", "ACSE", "is_release_requested", _exchange.is_release_requested)
    yield _method("fsm", "StateMachine", "do_action", _exchange.do_action)
    yield _function("dimse", "make_target", _exchange.make_target)


def _places_of_the_negotiation() -> Iterator[Place]:
    from nset.pynetdicom import _negotiation

    yield _method("dul", "DULServiceProvider", "_decode_pdu", _negotiation.logged)
    name = "_negotiate_as_acceptor"
    yield _method("acse", "ACSE", name, _negotiation.negotiate_as_acceptor)


def _method(module: str, cls: str, name: str, make: Callable[[Any], Any]) -> Place:
    """Replace a method by what `make` makes of the stock one."""
    owner = _owner(module, cls)
    stock = getattr(owner, name, None)
    if not callable(stock):
        raise _unknown(f"{module}.{cls} has no {name}")
    return _Attribute(owner, name, make(stock))


def _function(module: str, name: str, make: Callable[[Any], Any]) -> Place:
    """Replace a function of a module by what `make` makes of the stock one."""
    stock = getattr(_module(module), name, None)
    if not callable(stock):
        raise _unknown(f"{module} has no {name}")
    return _Attribute(_module(module), name, make(stock))


def _owner(module: str, name: str) -> Any:
    owner = getattr(_module(module), name, None)
    if not isinstance(owner, type):
        raise _unknown(f"{module} has no class {name}")
    return owner


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"pynetdicom.{name}")
    except ModuleNotFoundError as exc:
        raise _unknown(f"it has no module {name}") from exc


def _version(package: ModuleType) -> tuple[int, ...]:
    parts = str(getattr(package, "__version__", "")).split(".")[:2]
    return tuple(int(part) for part in parts if part.isdecimal())


def _unknown(reason: str) -> RuntimeError:
    package = importlib.import_module("pynetdicom")
    version = getattr(package, "__version__", "of unknown version")
    return RuntimeError(f"nset can't be installed in pynetdicom {version}: {reason}")
