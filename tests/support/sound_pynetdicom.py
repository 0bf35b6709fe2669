"""pynetdicom without five defects of its own that fail a test now and then, on a busy machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from pynetdicom.acse import ACSE
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE, StateMachine
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.transport import AssociationServer, AssociationSocket

# P-DATA, A-RELEASE and A-ABORT that a program asks for, and states without an association.
REQUESTS = ("Evt9", "Evt11", "Evt14", "Evt15")
OVER = ("Sta1", "Sta13")


class RequestorSocket:
    """A requestor's socket, which counts as connected where the peer has answered and closed it."""

    def __init__(self, acse: Any) -> None:
        self._socket = acse.dul.socket
        self._answers = acse.dul.to_user_queue.queue

    @property
    def _ready(self) -> Any:
        return self._socket._ready

    @property
    def _is_connected(self) -> bool:
        has_answer = any(isinstance(answer, A_ASSOCIATE) for answer in list(self._answers))
        return has_answer or self._socket._is_connected


@contextmanager
def sound_pynetdicom(exchange: ModuleType) -> Iterator[None]:
    """Mend them for the length of a ``with`` block, with the help of nset's module of that name.

    - An association keeps its responses, as one that ``install`` was called for.
    - A socket is closed that the peer has been quicker to close: stock leaves it to the garbage
      collection, whose warning then fails some other test.
    - The DUL thread of a requestor does not die where its program sends something, or answers,
      while the association ends.
    - Nor does the thread of an acceptor that finds the socket, and then that it is gone.
    - A requestor whose peer has rejected its association, and has closed the connection before the
      requestor looks at it, does not take that for a connection that was never made.
    """
    shutdown_socket = AssociationSocket._shutdown_socket
    do_action = StateMachine.do_action
    shutdown_request = AssociationServer.shutdown_request

    def _shutdown_socket(self: Any) -> None:
        sock = self.socket
        shutdown_socket(self)
        if sock is not None:
            sock.close()

    def do_action_or_nothing(self: Any, event: str) -> None:
        state = self.current_state
        is_late = event in REQUESTS and state in OVER and (event, state) not in TRANSITION_TABLE
        if not (is_late and self.dul.assoc.is_requestor):
            do_action(self, event)

    def shutdown_request_if_any(self: Any, request: Any) -> None:
        if request is not None:
            shutdown_request(self, request)

    with pytest.MonkeyPatch.context() as patch:
        get_msg = exchange.get_msg(DIMSEServiceProvider.get_msg)
        patch.setattr(DIMSEServiceProvider, "get_msg", get_msg)
        patch.setattr(AssociationSocket, "_shutdown_socket", _shutdown_socket)
        patch.setattr(AssociationServer, "shutdown_request", shutdown_request_if_any)
        patch.setattr(StateMachine, "do_action", do_action_or_nothing)
        patch.setattr(ACSE, "socket", property(RequestorSocket))
        yield
