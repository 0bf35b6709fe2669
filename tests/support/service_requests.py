"""Requests of the services on the fast path of `nset.scp`, byte by byte."""

from typing import Any, NamedTuple

from associations import INSTANCE, MPPS, UPS, completed, encoded
from command_sets import joined
from n_set_requests import uid
from pynetdicom import evt, sop_class
from raw_peer import COMMAND, LAST, p_data
from services import COMMITMENT, ECHO

FILM_SESSION = sop_class.BasicFilmSession
EVENT_LOGGING = sop_class.ProceduralEventLogging
DISPLAY = sop_class.DisplaySystem
AVAILABILITY = sop_class.InstanceAvailabilityNotification
MEDIA = sop_class.MediaCreationManagement
MACHINE = sop_class.RTConventionalMachineVerification
SYNTAXES = [
    *(ECHO, MPPS, UPS, FILM_SESSION, COMMITMENT, EVENT_LOGGING, DISPLAY, AVAILABILITY, MEDIA),
    *(MACHINE, sop_class.ModalityPerformedProcedureStepNotification),
    *(sop_class.ModalityPerformedProcedureStepRetrieve, sop_class.UnifiedProcedureStepWatch),
]
DATA = encoded(completed()).getvalue()
WITHOUT, WITH = 0x0101, 0x0001


class Asked(NamedTuple):
    """A request: its command set, without the class and the Message ID, and its data set."""

    elements: dict[int, Any]
    data: bytes = b""


def asked(field: int, data: bytes = b"", **elements: Any) -> Asked:
    values = {int(tag[1:], 16): value for tag, value in elements.items()}
    return Asked({0x0100: field, 0x0800: WITH if data else WITHOUT, **values}, data)


ONE = uid(INSTANCE)


class Service(NamedTuple):
    """Its event, the classes that have it, requests, and a status of failure."""

    event: Any
    classes: tuple[str, ...]
    requests: dict[str, Asked]
    failure: int = 0x0112
    answers_by_two: bool = True


SERVICES = {
    "C-ECHO": Service(
        evt.EVT_C_ECHO, (ECHO,), {"usual": asked(0x0030)}, 0x0122, answers_by_two=False
    ),
    "N-EVENT-REPORT": Service(
        evt.EVT_N_EVENT_REPORT,
        (COMMITMENT, FILM_SESSION, UPS, MACHINE, SYNTAXES[10]),
        {
            "usual": asked(0x0100, DATA, x1000=ONE, x1002=2),
            "without a data set": asked(0x0100, x1000=ONE, x1002=0xFFFF),
        },
    ),
    "N-GET": Service(
        evt.EVT_N_GET,
        (DISPLAY, UPS, MEDIA, FILM_SESSION, MACHINE, SYNTAXES[11], SYNTAXES[12]),
        {
            "usual": asked(0x0110, x1001=ONE, x1005=b"\x10\0\x10\0\x10\0\x20\0\x40\0\0\x04"),
            "of one tag": asked(0x0110, x1001=ONE, x1005=b"\0\0\0\0"),
            "of all": asked(0x0110, x1001=ONE),
        },
    ),
    "N-SET": Service(
        evt.EVT_N_SET,
        (MPPS, UPS, FILM_SESSION, MACHINE),
        {"usual": asked(0x0120, DATA, x1001=ONE)},
    ),
    "N-ACTION": Service(
        evt.EVT_N_ACTION,
        (COMMITMENT, EVENT_LOGGING, UPS, MEDIA, FILM_SESSION, MACHINE),
        {
            "usual": asked(0x0130, DATA, x1001=ONE, x1008=1),
            "without a data set": asked(0x0130, x1001=ONE, x1008=0),
        },
    ),
    "N-CREATE": Service(
        evt.EVT_N_CREATE,
        (MPPS, AVAILABILITY, UPS, MEDIA, FILM_SESSION, MACHINE),
        {
            "usual": asked(0x0140, DATA, x1000=ONE),
            "without a data set": asked(0x0140, x1000=ONE),
            "without an instance": asked(0x0140, DATA),
        },
        0x0111,
    ),
    "N-DELETE": Service(
        evt.EVT_N_DELETE,
        (FILM_SESSION, MACHINE),
        {"usual": asked(0x0150, x1001=ONE)},
        answers_by_two=False,
    ),
}
REQUESTED = (0x0110, 0x0120, 0x0130, 0x0150)


def sent(request: Asked, syntax: str, message_id: int = 7, context_id: int | None = None) -> bytes:
    """In one PDU for each PDV."""
    of_class = 0x0003 if request.elements[0x0100] in REQUESTED else 0x0002
    command_set = joined({**request.elements, of_class: uid(syntax), 0x0110: message_id})
    context_id = context_id or 2 * SYNTAXES.index(syntax) + 1
    pdus = p_data((context_id, COMMAND | LAST, command_set))
    return pdus + (p_data((context_id, LAST, request.data)) if request.data else b"")
