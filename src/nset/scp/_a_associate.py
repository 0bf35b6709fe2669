"""The ordinary A-ASSOCIATE-RQ and its A-ASSOCIATE-AC, in bytes (PS3.8 Sections 9.3.2 and 9.3.3).

pynetdicom negotiates each abstract syntax once with each transfer syntax that an answer may have;
the result is remembered, until a setting changes that it rests on. Whatever is not ordinary, such
as a role selection, a user identity or a violation of the standard, is left to pynetdicom
altogether.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

from pydicom._uid_dict import UID_dictionary
from pynetdicom import _config
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import ServiceUser
from pynetdicom.pdu_items import (
    PresentationContextItemAC,
    UserInformationItem,
)
from pynetdicom.presentation import PresentationContext, build_context, negotiate_as_acceptor

from nset import _pdu
from nset._uid import is_conformant_uid
from nset.scp._ae_settings import AESettings, copied

_ITEMS_OFFSET: Final = 74
_APPLICATION_CONTEXT: Final = b"\x10\x00\x00\x151.2.840.10008.3.1.1.1"
_CONTEXT, _ABSTRACT_SYNTAX, _TRANSFER_SYNTAX, _USER_INFORMATION = 0x20, 0x30, 0x40, 0x50
_MAXIMUM_LENGTH, _CLASS_UID, _VERSION_NAME = 0x51, 0x52, 0x55

_TITLE: Final = re.compile(rb" *([!-\[\]-~](?:[ -\[\]-~]*[!-\[\]-~])?) *")
_NAME: Final = re.compile(rb"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?")

_ROOT: Final = "1.2.840.10008."
_TRANSFER_SYNTAXES: Final = frozenset(
    uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"
)

# A longer A-ASSOCIATE-RQ may take pynetdicom more than a few milliseconds.
MAX_REQUEST_BYTES: Final = 0x1000

# What is remembered: at most 1 MiB of requests, and contexts of two UIDs and an ID each.
_MAX_REQUESTS: Final = 256
_MAX_CONTEXTS: Final = 2048

_VALIDATORS: Final = tuple(_config.VALIDATORS.values())


class Settings(NamedTuple):
    """What negotiation depends on, beside the supported contexts' own attributes."""

    contexts: list[PresentationContext]
    ae_title: str
    calling_ae_titles: tuple[str, ...]
    requires_called_ae_title: bool
    maximum_pdu_size: int
    implementation_class_uid: Any
    implementation_version_name: str | None
    is_unrestricted: bool
    validators: tuple[Any, ...]

    @classmethod
    def of(cls, server: Any) -> "Settings":
        """Return those of a server, its AE and pynetdicom at this time."""
        ae = server.ae
        return cls(
            server.contexts[:],
            server.ae_title,
            tuple(ae.require_calling_aet),
            ae.require_called_aet,
            ae.maximum_pdu_size,
            ae.implementation_class_uid,
            ae.implementation_version_name,
            _config.UNRESTRICTED_STORAGE_SERVICE,
            tuple(_config.VALIDATORS.values()),
        )

    def apply_to(self, acceptor: ServiceUser) -> None:
        """Give an acceptor what it announces."""
        acceptor.maximum_length = self.maximum_pdu_size
        acceptor.ae_title = self.ae_title
        acceptor.implementation_class_uid = self.implementation_class_uid
        acceptor.implementation_version_name = self.implementation_version_name


class Accepted(NamedTuple):
    """An A-ASSOCIATE-RQ that is accepted. Associations share its contexts, and change none."""

    request: bytes
    answer: bytes
    """The A-ASSOCIATE-AC."""
    settings: Settings
    contexts: dict[int, PresentationContext]
    """The accepted ones, by ID."""
    rejected: list[PresentationContext]
    calling_ae_title: str
    called_ae_title: str
    peer_length: int
    """The peer's maximum length of PDUs in bytes; 0 is unlimited."""
    results: "list[_Result]"


class _Result(NamedTuple):
    """What has become of a proposed context."""

    context: PresentationContext
    item: bytes
    """Of the A-ASSOCIATE-AC."""
    supported: dict[str, Any]
    """The attributes of the supported context, if there is one, ..."""
    values: dict[str, Any]
    """... and what they were then."""

    def numbered(self, context_id: int) -> "_Result":
        """Return the same for a context of another ID."""
        context = PresentationContext.__new__(PresentationContext)
        vars(context).update(vars(self.context))
        context.context_id = context_id
        _, answer, supported, values = self
        item = answer[:4] + context_id.to_bytes(1, "big") + answer[5:]
        return _Result(context, item, supported, values)


class _Proposal(NamedTuple):
    called: bytes
    calling: bytes
    contexts: list[bytes]
    peer_length: int


class Negotiations:
    """Answers to ordinary A-ASSOCIATE-RQ PDUs; in the loop's thread.

    Parameters
    ----------
    server : Server
        The server, whose settings and supported contexts count.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self._ae_settings: AESettings | None = None
        self._settings: Settings | None = None
        self._validators: dict[Any, Any] = {}
        self._user_information = b""
        self._by_request: dict[bytes, Accepted] = {}
        # A modality proposes the same for many abstract syntaxes.
        self._transfer_syntaxes = lru_cache(maxsize=64)(_transfer_syntaxes)
        self._results: dict[tuple[str, str, int], _Result] = {}  # by syntaxes and context ID

    def accept(self, request: bytes, ae_settings: AESettings) -> Accepted | None:
        """Negotiate.

        Parameters
        ----------
        request : bytes
            A whole A-ASSOCIATE-RQ PDU.
        ae_settings : AESettings
            Those of the AE, another object if one has changed.

        Returns
        -------
        Accepted or None
            None where pynetdicom has to do it, which may reject the association.
        """
        if len(request) > MAX_REQUEST_BYTES:
            return None
        settings, server = self._settings, self._server
        if (
            settings is None
            or ae_settings is not self._ae_settings
            or server.contexts != settings.contexts
            or server.ae_title != settings.ae_title
            or settings.is_unrestricted != _config.UNRESTRICTED_STORAGE_SERVICE
            or self._validators != _config.VALIDATORS
        ):
            settings = self._examined(ae_settings)
        accepted = self._by_request.get(request)
        if accepted is not None:
            for result in accepted.results:
                if result.supported != result.values:
                    break
            else:
                return accepted
        accepted = self._negotiate(request, settings)
        if accepted is not None:
            if len(self._by_request) >= _MAX_REQUESTS:
                self._by_request.clear()
            self._by_request[request] = accepted
        return accepted

    def _examined(self, ae_settings: AESettings) -> Settings:
        """Return the settings; forget all results if they are not what they were."""
        settings = Settings.of(self._server)
        self._ae_settings, self._validators = ae_settings, dict(_config.VALIDATORS)
        if settings != self._settings:
            self._settings = settings
            self._forget(settings)
        return settings

    def _forget(self, settings: Settings) -> None:
        self._by_request.clear()
        self._results.clear()
        acceptor = ServiceUser(self._server, MODE_ACCEPTOR)
        settings.apply_to(acceptor)
        item = UserInformationItem()
        item.from_primitive(acceptor.user_information)
        self._user_information = item.encode()

    def _negotiate(self, request: bytes, settings: Settings) -> Accepted | None:
        if settings.is_unrestricted or settings.validators != _VALIDATORS:
            return None
        proposal = _parsed(request)
        if proposal is None:
            return None
        called, calling = proposal.called.decode(), proposal.calling.decode()
        callers = [title.strip() for title in settings.calling_ae_titles]
        if (callers and calling not in callers) or (
            settings.requires_called_ae_title and called != settings.ae_title.strip()
        ):
            return None
        results = []
        supported = self._server.supported.by_syntax(self._server.contexts)
        for item in proposal.contexts:
            result = self._result_of(item, supported)
            if result is None:
                return None
            results.append(result)
        results.sort(key=_order)
        accepted = {
            context.context_id: context
            for context, *_ in results
            if context.context_id is not None and context.result == 0
        }
        if len({result.context.context_id for result in results}) < len(results):
            return None
        body = b"".join(
            (
                b"\0\1\0\0",
                proposal.called.ljust(16),
                proposal.calling.ljust(16),
                bytes(32),
                _APPLICATION_CONTEXT,
                *[result.item for result in results],
                self._user_information,
            )
        )
        return Accepted(
            request,
            b"\2\0" + len(body).to_bytes(4, "big") + body,
            settings,
            accepted,
            [result.context for result in results if result.context.result != 0],
            calling,
            called,
            proposal.peer_length,
            results,
        )

    def _result_of(self, item: bytes, supported: dict[Any, PresentationContext]) -> _Result | None:
        """Return what becomes of a context; None if its item is not ordinary."""
        end = 12 + int.from_bytes(item[10:12], "big")
        abstract, proposed = item[12:end].decode("latin-1"), self._transfer_syntaxes(item[end:])
        if (
            len(item) <= end
            or item[4] % 2 == 0
            or item[8] != _ABSTRACT_SYNTAX
            or not is_conformant_uid(abstract)
            or proposed is None
        ):
            return None
        # As pynetdicom chooses: the first supported one that is proposed, else the first proposed.
        chosen, context = proposed[0], supported.get(abstract)
        if context is not None:
            chosen = next((uid for uid in context.transfer_syntax if uid in proposed), chosen)
        return self._result(abstract, chosen, item[4])

    def _result(self, abstract: str, transfer: str, context_id: int) -> _Result:
        """Return what becomes of a context of one transfer syntax."""
        key = abstract, transfer, context_id
        result = self._results.get(key)
        if result is None or result.supported != result.values:
            if context_id == 1:
                result = self._negotiated(abstract, transfer)
            else:
                result = self._result(abstract, transfer, 1).numbered(context_id)
            if len(self._results) >= _MAX_CONTEXTS:
                self._results.clear()
            self._results[key] = result
        return result

    def _negotiated(self, abstract: str, transfer: str) -> _Result:
        """Let pynetdicom negotiate a context of one transfer syntax."""
        proposed = build_context(abstract, transfer)
        proposed.context_id = 1
        server = self._server
        supported = server.supported.relevant(server.contexts, [proposed])
        ((context,), _) = negotiate_as_acceptor([proposed], supported)
        answer = PresentationContextItemAC()
        answer.from_primitive(context)
        rests_on = vars(supported[0]) if supported else {}
        return _Result(context, answer.encode(), rests_on, copied(rests_on))


def _order(result: _Result) -> tuple[bool, int | None]:
    """As pynetdicom answers: the accepted contexts first."""
    return result.context.result != 0, result.context.context_id


def _parsed(request: bytes) -> _Proposal | None:
    """Return what an ordinary request proposes; None if it is not ordinary."""
    called, calling = _TITLE.fullmatch(request, 10, 26), _TITLE.fullmatch(request, 26, 42)
    if called is None or calling is None or request[6:8] != b"\0\1":
        return None
    begin = _ITEMS_OFFSET + len(_APPLICATION_CONTEXT)
    if request[_ITEMS_OFFSET:begin] != _APPLICATION_CONTEXT:
        return None
    contexts = []
    items = _items(request, begin, len(request))
    for kind, at, end in items:
        if kind == _CONTEXT:
            contexts.append(request[at - 4 : end])
        elif kind == _USER_INFORMATION and contexts and end == len(request):
            peer_length = _peer_length(request, at)
            if peer_length is None:
                return None
            return _Proposal(called[1], calling[1], contexts, peer_length)
        else:
            return None
    return None


def _peer_length(request: bytes, begin: int) -> int | None:
    """Return the maximum length of ordinary user information; None if that is not ordinary."""
    found: dict[int, bytes] = {}
    for kind, at, end in _items(request, begin, len(request)):
        if kind in found:
            return None
        found[kind] = request[at:end]
    length, uid = found.pop(_MAXIMUM_LENGTH, b""), found.pop(_CLASS_UID, b"")
    name = found.pop(_VERSION_NAME, b"-")
    conforms = is_conformant_uid(uid.decode("latin-1")) and _NAME.fullmatch(name)
    if found or len(length) != 4 or not conforms:
        return None
    number = int.from_bytes(length, "big")
    return None if 0 < number < _pdu.PDV_HEADER_LENGTH + 2 else number


def _transfer_syntaxes(items: bytes) -> list[str] | None:
    """Return what a context proposes; None if they are not ordinary."""
    uids = []
    for kind, at, end in _items(items, 0, len(items)):
        uid = items[at:end].decode("latin-1")
        if kind != _TRANSFER_SYNTAX or not is_conformant_uid(uid):
            return None
        if uid not in _TRANSFER_SYNTAXES and uid.startswith(_ROOT):  # pynetdicom logs it
            return None
        uids.append(uid)
    return uids or None


def _items(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield type, begin and end of the value of each item; type -1 where they do not fit."""
    while at < end:
        begin = at + 4
        kind = data[at]
        at = begin + int.from_bytes(data[begin - 2 : begin], "big")
        if at > end:
            yield -1, begin, end
            return
        yield kind, begin, at
