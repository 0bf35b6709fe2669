"""What is bound to the events of a server or an association."""

from collections.abc import Callable
from typing import Any, Final

from pynetdicom import _handlers, evt

from nset.scp._n_set import handler_of

# These write to the log, and only at DEBUG.
_STANDARD: Final = (
    _handlers.standard_dimse_recv_handler,
    _handlers.standard_dimse_sent_handler,
    _handlers.standard_pdu_recv_handler,
    _handlers.standard_pdu_sent_handler,
)

# Whoever listens to one of these wants to hear of each PDU or message.
_OF_MESSAGES: Final = (
    evt.EVT_DATA_RECV,
    evt.EVT_DATA_SENT,
    evt.EVT_DIMSE_RECV,
    evt.EVT_DIMSE_SENT,
    evt.EVT_FSM_TRANSITION,
    evt.EVT_PDU_RECV,
    evt.EVT_PDU_SENT,
)

# What is asked while an association is negotiated.
_OF_NEGOTIATION: Final = (
    evt.EVT_ASYNC_OPS,
    evt.EVT_SOP_COMMON,
    evt.EVT_SOP_EXTENDED,
    evt.EVT_USER_ID,
)


class Bindings:
    """Handlers, looked through once; never changed.

    Parameters
    ----------
    handlers : dict
        As pynetdicom keeps them: by event a list of (function, arguments), or one such tuple.
    inline : bool
        Whether plain handlers of EVT_N_SET are called in the loop's thread.

    Attributes
    ----------
    n_set : tuple of (callable, tuple, int)
        That of EVT_N_SET, as `handler_of` gives it.
    is_observed : bool
        Whether someone wants to hear of each PDU or message; pynetdicom's log handlers aside.
    is_listened_to : bool
        Whether a program's code runs when an association is negotiated, sends, receives or ends.
    """

    __slots__ = ("is_listened_to", "is_observed", "n_set")

    def __init__(self, handlers: dict[Any, Any], *, inline: bool) -> None:
        self.n_set = handler_of(handlers[evt.EVT_N_SET], inline=inline)
        heard = {
            event
            for event, bound in handlers.items()
            if event.is_notification and any(function not in _STANDARD for function, _ in bound)
        }
        asked = [
            event
            for event in _OF_NEGOTIATION
            if handlers[event][0] is not evt.get_default_handler(event)
        ]
        self.is_observed = not heard.isdisjoint(_OF_MESSAGES)
        self.is_listened_to = bool(heard or asked)


def rebound(
    handlers: dict[Any, Any],
    event: Any,
    handler: Callable[..., Any],
    args: list[Any] | None = None,
    *,
    unbind: bool = False,
) -> dict[Any, Any]:
    """Bind a handler in a copy of the handlers, which others may be reading.

    Parameters
    ----------
    handlers : dict
        As for `Bindings`.
    event : NotificationEvent or InterventionEvent
        The event.
    handler : callable
        The function.
    args : list, optional
        More arguments for it.
    unbind : bool
        Whether to unbind it instead.

    Returns
    -------
    dict
        The copy.
    """
    copy = dict(handlers)
    if isinstance(copy.get(event), list):
        copy[event] = list(copy[event])
    if unbind:
        evt._remove_handler(event, copy, handler)
    else:
        evt._add_handler(event, copy, (handler, args))
    return copy
