"""The acceptor's side of the negotiation (PS3.8 Section 7.1)."""

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

from pynetdicom import _config
from pynetdicom.acse import ACSE
from pynetdicom.association import ServiceUser
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.presentation import PresentationContext

from nset.pynetdicom import _negotiation
from nset.scp._a_associate import Accepted

# Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 Table 9-21).
_LOCAL_LIMIT_EXCEEDED = 2, 3, 2


class SupportedContexts:
    """A server's supported contexts by their abstract syntax.

    So that what an association costs does not depend on how many there are. In any thread.
    """

    def __init__(self) -> None:
        self._index: tuple[Any, int, dict[Any, PresentationContext]] = (None, 0, {})

    def relevant(
        self, contexts: list[PresentationContext], requested: list[PresentationContext]
    ) -> list[PresentationContext]:
        """Return the supported contexts for a request: one per proposed abstract syntax.

        Parameters
        ----------
        contexts : list of pynetdicom.presentation.PresentationContext
            All that are supported.
        requested : list of pynetdicom.presentation.PresentationContext
            Those of the A-ASSOCIATE-RQ.

        Returns
        -------
        list of pynetdicom.presentation.PresentationContext
            At least one: with none, the refusal would be another one.
        """
        index = self.by_syntax(contexts)
        wanted = {context.abstract_syntax for context in requested}
        return [index[syntax] for syntax in wanted if syntax in index] or contexts[:1]

    def by_syntax(self, contexts: list[PresentationContext]) -> dict[Any, PresentationContext]:
        """Return all that are supported by their abstract syntax."""
        index = self._index
        if index[:2] != (contexts, len(contexts)):
            by_syntax = {context.abstract_syntax: context for context in contexts}
            index = self._index = (contexts, len(contexts), by_syntax)
        return index[2]


class _User(ServiceUser):
    """A service user whose primitive is made when it is first read."""

    assoc: Any
    _primitive: Any = None
    _accepted: Accepted | None = None
    _is_making = False

    def remember(self, accepted: Accepted) -> None:
        """Make the primitive of this negotiation when it is read."""
        self._accepted = accepted
        self._learn(accepted)

    def _learn(self, accepted: Accepted) -> None:
        pass

    @property
    def primitive(self) -> Any:
        """The A-ASSOCIATE primitive, or None."""
        if self._accepted is not None:
            with self.assoc._making:
                if self._accepted is not None and not self._is_making:
                    self._is_making = True
                    self._primitive = self._made(self._accepted)
                    self._accepted = None
        return self._primitive

    @primitive.setter
    def primitive(self, primitive: Any) -> None:
        self._primitive = primitive

    def _made(self, accepted: Accepted) -> Any:
        raise NotImplementedError


class Requestor(_User):
    """The requestor."""

    def _learn(self, accepted: Accepted) -> None:
        self._ae_title = accepted.calling_ae_title

    def _made(self, accepted: Accepted) -> Any:
        pdu = A_ASSOCIATE_RQ()
        pdu.decode(accepted.request)
        return pdu.to_primitive()


class _RepeatedACSE(ACSE):
    """Makes the primitive of an A-ASSOCIATE-AC that has been sent, and sends nothing."""

    dul: Any = SimpleNamespace(send_pdu=lambda primitive: None)


class Acceptor(_User):
    """The acceptor, with supported contexts that associations share until one changes them."""

    _is_negotiating = False

    def __init__(self, assoc: Any, mode: str) -> None:
        super().__init__(assoc, mode)
        self._own_contexts: list[Any] | None = None

    def _made(self, accepted: Accepted) -> Any:
        _RepeatedACSE(self.assoc).send_accept()
        return self._primitive

    @property
    def _contexts(self) -> list[Any]:
        if self._own_contexts is None:
            server = self.assoc._server
            if self._is_negotiating and not _config.UNRESTRICTED_STORAGE_SERVICE:
                requested: Any = self.assoc.requestor.primitive
                relevant: list[Any] = server.supported.relevant(
                    server.contexts, requested.presentation_context_definition_list
                )
                return relevant
            self._own_contexts = deepcopy(server.contexts)
        return self._own_contexts

    @_contexts.setter
    def _contexts(self, contexts: list[Any]) -> None:
        self._own_contexts = contexts


class AcceptorACSE(ACSE):
    """pynetdicom's ACSE, with the answers to an A-ASSOCIATE-RQ that it lacks."""

    def _negotiate_as_acceptor(self) -> None:
        acceptor: Any = self.acceptor
        assoc: Any = self.assoc
        # A handler may read and change all that are supported, as those are of its association.
        acceptor._is_negotiating = not assoc.bindings.negotiates
        try:
            server = assoc._server
            if not server.keeps_share():
                reason = f"{server.share.most} associations in all processes already"
                assoc._nset_rejection = reason, _LOCAL_LIMIT_EXCEEDED
            if _negotiation.is_rejected(self):
                return
            super()._negotiate_as_acceptor()
        finally:
            acceptor._is_negotiating = False

    def is_release_requested(self) -> bool:
        """Return False to a service that would stop then; the release comes after its responses."""
        return False

    def send_accept(self) -> None:
        assoc: Any = self.assoc
        assoc.acceptor._is_negotiating = False  # as handlers are called
        assoc.negotiated()  # before the peer knows that it may send
        super().send_accept()

    def send_reject(self, result: int, source: int, diagnostic: int) -> None:
        acceptor: Any = self.acceptor
        acceptor._is_negotiating = False
        super().send_reject(result, source, diagnostic)
