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
    return [*_class_patches(), *_attributes(), *_wrappers(nodelay)]


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


def _attributes() -> Iterator[Patch]:
    """Yield the patches that have no use for what they replace."""
    from nset.pynetdicom import _exchange, _messages, _reactors

    for name in ("N_SET_RQ", "N_SET_RSP"):
        yield _Attribute(_class("dimse_messages", name), "__init__", _messages.init)
    for name in ("association", "dul"):
        module = _module(name)
        if vars(module).get("time") is not time:
            raise _unsupported(f"{name} does not sleep by the module time")
        yield _Attribute(module, "time", _reactors.Clock())
    yield _Attribute(_class("association", "Association"), "_is_paused", _exchange.IsPaused())


def _wrappers(nodelay: bool) -> Iterator[Patch]:
    """Yield the patches of functions and methods; what makes the new one gets the stock one."""
    from nset.pynetdicom import (
        _answers,
        _data_sets,
        _exchange,
        _messages,
        _negotiation,
        _provider,
        _reactors,
        _socket,
    )

    wrappers: dict[str, Callable[[Any], Any]] = {
        "_handlers._recv_n_set_rq": _messages.where_enabled,
        "_handlers._recv_n_set_rsp": _messages.where_enabled,
        "_handlers._send_n_set_rq": _messages.where_enabled,
        "_handlers._send_n_set_rsp": _messages.where_enabled,
        "acse.ACSE._negotiate_as_acceptor": _negotiation.negotiate_as_acceptor,
        "acse.ACSE.is_release_requested": _exchange.is_release_requested,
        "association.Association.__init__": _reactors.init,
        "association.Association._run_reactor": _exchange.run_reactor,
        "association.Association._serve_request": _provider.serve_request,
        "association.Association._wrap_find_responses": _exchange.keep_waiting,
        "association.Association._wrap_get_move_responses": _exchange.keep_waiting,
        "association.Association.send_c_store": _exchange.send_c_store,
        "association.Association.send_n_set": _data_sets.send_n_set,
        "association.decode": _data_sets.decode,
        "association.encode": _data_sets.encode,
        "association.uid_to_service_class": _provider.service_class,
        "dimse.DIMSEServiceProvider.get_msg": _exchange.get_msg,
        "dimse.DIMSEServiceProvider.receive_primitive": _provider.receive_primitive,
        "dimse.DIMSEServiceProvider.send_msg": _exchange.send_msg,
        "dimse.make_target": _exchange.make_target,
        "dimse_messages.DIMSEMessage.decode_msg": _messages.decode_msg,
        "dimse_messages.DIMSEMessage.message_to_primitive": _messages.message_to_primitive,
        "dimse_messages.N_SET_RQ.encode_msg": _messages.encode_msg,
        "dimse_messages.N_SET_RQ.primitive_to_message": _messages.primitive_to_message,
        "dimse_messages.N_SET_RSP.encode_msg": _messages.encode_msg,
        "dimse_messages.N_SET_RSP.primitive_to_message": _messages.primitive_to_message,
        "dul.DULServiceProvider._decode_pdu": _negotiation.decode_or_abort,
        "dul.DULServiceProvider._read_pdu_data": _reactors.read_pdu_data,
        "dul.DULServiceProvider.kill_dul": _reactors.kill_dul,
        "events.Event._get_dataset": _data_sets.get_dataset,
        "events.trigger": _answers.trigger,
        "fsm.StateMachine.do_action": _exchange.do_action,
        "service_class.ServiceClass._wrap_handler": _exchange.wrap_handler,
        "service_class.ServiceClass.validate_status": _provider.validate_status,
        "transport.AssociationSocket.recv": _reactors.recv,
    }
    if nodelay:
        wrappers["transport.AssociationSocket.__init__"] = _socket.init
    for path, make in wrappers.items():
        place, _, name = path.rpartition(".")
        owner = _class(*place.split(".")) if "." in place else _module(place)
        stock = getattr(owner, name, None)
        if not callable(stock):
            raise _unsupported(f"{place} has no {name}")
        yield _Attribute(owner, name, make(stock))


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
