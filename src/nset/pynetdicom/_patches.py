"""Every patch of pynetdicom that `install` applies."""

import importlib
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Protocol

from nset._implementation import Primitive
from nset.primitive import N_SET, pynetdicom_class

_KNOWN_VERSIONS = ((3, 0), (3, 1))

# Modules of pynetdicom with a global `N_SET`.
_MODULES_WITH_N_SET = (
    "dimse_primitives",
    "association",
    "service_class",
    "service_class_n",
    "dimse",
    "dimse_messages",
)


class Patch(Protocol):
    """A change of pynetdicom that can be reverted."""

    def apply(self) -> None:
        """Set nset's value."""

    def revert(self) -> None:
        """Restore the original value, or delete nset's if there was none."""


class _Item:
    """An entry of a dict."""

    def __init__(self, mapping: dict[Any, Any], key: Any, value: Any) -> None:
        self._mapping, self._key, self._value = mapping, key, value
        self._existed, self._original = key in mapping, mapping.get(key)

    def apply(self) -> None:
        self._mapping[self._key] = self._value

    def revert(self) -> None:
        if self._existed:
            self._mapping[self._key] = self._original
        else:
            del self._mapping[self._key]


class _Attribute:
    """An attribute of a module or a class itself, not of its bases."""

    def __init__(self, owner: Any, name: str, value: Any) -> None:
        self._owner, self._name, self._value = owner, name, value
        self._existed, self._original = name in vars(owner), vars(owner).get(name)

    def apply(self) -> None:
        setattr(self._owner, self._name, self._value)

    def revert(self) -> None:
        if self._existed:
            setattr(self._owner, self._name, self._original)
        else:
            delattr(self._owner, self._name)


class _Base:
    """pynetdicom's class as a base of nset's, so that `isinstance` accepts nset's instances.

    Never reverted: `isinstance` reads first the type and then `__class__`, and another thread may
    uninstall in between.
    """

    def __init__(self, base: type) -> None:
        self._base = base

    def apply(self) -> None:
        if self._base not in N_SET.__bases__:
            N_SET.__bases__ = (Primitive, self._base)

    def revert(self) -> None:
        pass


def patches(*, nodelay: bool) -> list[Patch]:
    """Return all patches in the order in which to apply them, and apply none.

    Raise ImportError if pynetdicom is not installed, RuntimeError if it is not what nset expects
    where it would be patched.
    """
    package = importlib.import_module("pynetdicom")
    if _version(package) not in _KNOWN_VERSIONS:
        raise _unsupported("not a version that nset was made for")
    found = [
        *_class_patches(),
        *_codec_patches(),
        *_reactor_patches(),
        *_exchange_patches(),
        *_negotiation_patches(),
        *_data_set_patches(),
    ]
    if nodelay:
        from nset.pynetdicom import _socket

        found.append(_method("transport", "AssociationSocket", "__init__", _socket.init))
    return found


def _class_patches() -> Iterator[Patch]:
    modules = {name: _module(name) for name in _MODULES_WITH_N_SET}
    stock = pynetdicom_class()
    for name, module in modules.items():
        if vars(module).get("N_SET") is not stock:
            raise _unsupported(f"{name}.N_SET is not its N-SET primitive")
    if stock is None:
        raise _unsupported("it has no N-SET primitive")
    yield _Base(stock)
    for table in ("_RQ_TO_MESSAGE", "_RSP_TO_MESSAGE"):
        mapping = getattr(modules["dimse"], table, None)
        if not isinstance(mapping, dict) or stock not in mapping:
            raise _unsupported(f"dimse.{table} does not hold its N-SET primitive")
        # In addition to the stock class: instances of that may still be in a queue to be sent.
        yield _Item(mapping, N_SET, mapping[stock])
    yield _Item(_primitive_table(modules["dimse_messages"], stock), "N_SET", N_SET)
    # Applied last and reverted first: `N_SET.__class__` reads these, and the tables must match it.
    for module in modules.values():
        yield _Attribute(module, "N_SET", N_SET)


def _primitive_table(module: ModuleType, stock: type) -> dict[Any, Any]:
    # The spelling depends on the release.
    for table in ("_MSG_TO_PRIMITVE", "_MSG_TO_PRIMITIVE"):
        mapping = getattr(module, table, None)
        if isinstance(mapping, dict) and mapping.get("N_SET") is stock:
            return mapping
    raise _unsupported("dimse_messages has no table of primitives that holds N_SET")


def _codec_patches() -> Iterator[Patch]:
    from nset.pynetdicom import _messages, _provider

    for method in ("decode_msg", "message_to_primitive"):
        yield _method("dimse_messages", "DIMSEMessage", method, getattr(_messages, method))
    for name in ("N_SET_RQ", "N_SET_RSP"):
        cls = _class("dimse_messages", name)
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
            raise _unsupported(f"_handlers has no {name}")
        yield _Attribute(handlers, name, _messages.where_enabled(handlers.LOGGER, stock))


def _reactor_patches() -> Iterator[Patch]:
    from nset.pynetdicom import _reactors

    for name in ("association", "dul"):
        module = _module(name)
        if vars(module).get("time") is not time:
            raise _unsupported(f"{name} does not sleep by the module time")
        yield _Attribute(module, "time", _reactors.Clock())
    yield _method("association", "Association", "__init__", _reactors.init)
    yield _method("dul", "DULServiceProvider", "kill_dul", _reactors.kill_dul)
    yield _method("dul", "DULServiceProvider", "_read_pdu_data", _reactors.read_pdu_data)
    yield _method("transport", "AssociationSocket", "recv", _reactors.recv)


def _exchange_patches() -> Iterator[Patch]:
    from nset.pynetdicom import _exchange

    for name in ("get_msg", "send_msg"):
        yield _method("dimse", "DIMSEServiceProvider", name, getattr(_exchange, name))
    for name in ("_wrap_find_responses", "_wrap_get_move_responses"):
        yield _method("association", "Association", name, _exchange.keep_waiting)
    association = _class("association", "Association")
    yield _Attribute(association, "_is_paused", _exchange.IsPaused())
    yield _method("association", "Association", "_run_reactor", _exchange.run_reactor)
    yield _method("acse", "ACSE", "is_release_requested", _exchange.is_release_requested)
    yield _method("fsm", "StateMachine", "do_action", _exchange.do_action)
    yield _function("dimse", "make_target", _exchange.make_target)


def _negotiation_patches() -> Iterator[Patch]:
    from nset.pynetdicom import _negotiation

    yield _method("dul", "DULServiceProvider", "_decode_pdu", _negotiation.decode_or_abort)
    name = "_negotiate_as_acceptor"
    yield _method("acse", "ACSE", name, _negotiation.negotiate_as_acceptor)


def _data_set_patches() -> Iterator[Patch]:
    from nset.pynetdicom import _data_sets

    yield _method("association", "Association", "send_n_set", _data_sets.send_n_set)
    yield _function("association", "encode", _data_sets.encode)
    yield _function("association", "decode", _data_sets.decode)
    yield _method("events", "Event", "_get_dataset", _data_sets.get_dataset)
    yield _function("events", "trigger", _data_sets.trigger)


def _method(module: str, cls: str, name: str, make: Callable[[Any], Any]) -> Patch:
    """Return the patch of a method; `make` gets the stock one."""
    owner = _class(module, cls)
    stock = getattr(owner, name, None)
    if not callable(stock):
        raise _unsupported(f"{module}.{cls} has no {name}")
    return _Attribute(owner, name, make(stock))


def _function(module: str, name: str, make: Callable[[Any], Any]) -> Patch:
    """Return the patch of a function of a module; `make` gets the stock one."""
    stock = getattr(_module(module), name, None)
    if not callable(stock):
        raise _unsupported(f"{module} has no {name}")
    return _Attribute(_module(module), name, make(stock))


def _class(module: str, name: str) -> Any:
    cls = getattr(_module(module), name, None)
    if not isinstance(cls, type):
        raise _unsupported(f"{module} has no class {name}")
    return cls


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"pynetdicom.{name}")
    except ModuleNotFoundError as exc:
        raise _unsupported(f"it has no module {name}") from exc


def _version(package: ModuleType) -> tuple[int, ...]:
    parts = str(getattr(package, "__version__", "")).split(".")[:2]
    return tuple(int(part) for part in parts if part.isdecimal())


def _unsupported(reason: str) -> RuntimeError:
    package = importlib.import_module("pynetdicom")
    version = getattr(package, "__version__", "of unknown version")
    return RuntimeError(f"nset can't be installed in pynetdicom {version}: {reason}")
