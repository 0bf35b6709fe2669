"""nset's log records about an association, beside pynetdicom's."""

import logging
import time
from typing import Any

from nset.logs import address_name, of_association, of_request

_LOGGER = logging.getLogger("nset")


def peer_name(assoc: Any) -> str:
    """Return the peer's AE title, if it is known, and address."""
    title, _ = assoc.titles()
    name = address_name(assoc.address)
    return f"{title}@{name}" if title else name


def _log(assoc: Any, level: int, text: str, *args: Any, **fields: Any) -> None:
    """Log a record with the fields of an association, and `fields`."""
    if _LOGGER.isEnabledFor(level):
        _LOGGER.log(level, text, *args, extra={**of_association(assoc), **fields}, stacklevel=2)


def accepted(assoc: Any) -> None:
    """Log an association that is established."""
    if _LOGGER.isEnabledFor(logging.INFO):
        contexts = len(assoc._accepted_cx)
        _log(
            *(
                assoc,
                logging.INFO,
                "Accepted the association with %s: %d of %d presentation contexts",
            ),
            *(peer_name(assoc), contexts, contexts + len(assoc._rejected_cx)),
        )


def rejecting(assoc: Any, result: int, source: int, reason: int) -> None:
    """Log why an A-ASSOCIATE-RJ is sent."""
    ae, primitive = assoc.ae, assoc.requestor.primitive
    called = primitive.called_ae_title if primitive else ""
    reasons = {
        (1, 1, 3): "its AE title is not among AE.require_calling_aet",
        (1, 1, 7): f"it calls {called}, not {assoc.acceptor.ae_title} (AE.require_called_aet)",
        (1, 2, 2): "its protocol version is not 1",
        (2, 2, 1): "its user identity was refused (EVT_USER_ID)",
        (2, 3, 2): f"{ae.maximum_associations} associations already (AE.maximum_associations)",
    }
    default = f"result {result}, source {source}, reason {reason} (PS3.8 Table 9-21)"
    bad_title = vars(assoc).get("_nset_rejection")
    why = bad_title[0] if bad_title else reasons.get((result, source, reason), default)
    _log(assoc, logging.WARNING, "Rejecting the association with %s: %s", peer_name(assoc), why)


def releasing(assoc: Any) -> None:
    """Log that the server asks for the release."""
    _log(assoc, logging.INFO, "Asking %s to release its association", peer_name(assoc))


def aborting(assoc: Any) -> None:
    """Log why an association is aborted, unless that was a fault: then it was logged."""
    reason = assoc.dul.abort_reason
    level, why = {
        "idle": (logging.WARNING, f"nothing for {assoc.network_timeout} s (AE.network_timeout)"),
        "shutdown": (logging.WARNING, "the server is shut down"),
        "error": (logging.WARNING, "an error of the server's or of a handler"),
        "local": (logging.INFO, "the program does"),
    }.get(reason, (logging.DEBUG, reason))
    _log(assoc, level, "Aborting the association with %s: %s", peer_name(assoc), why)


def aborting_over_memory(assoc: Any, server_memory: Any) -> None:
    """Log that an association is aborted because too many bytes are pending."""
    limits = assoc.limits
    _log(
        *(assoc, logging.ERROR),
        "Aborting the association with %s: %d bytes of it wait, and in all associations %d "
        "(Limits(association_bytes=%d, server_bytes=%d))",
        *(peer_name(assoc), assoc.memory.waiting, server_memory.waiting),
        *(limits.association_bytes, server_memory.limit),
    )


def aborting_crossed(assoc: Any) -> None:
    """Log that an association is aborted whose peer does not answer the A-RELEASE-RQ."""
    _log(
        *(assoc, logging.WARNING),
        "Aborting the association with %s: its request has crossed the A-RELEASE-RQ",
        peer_name(assoc),
    )


def aborted_while_served(assoc: Any, request: Any, context_id: int) -> None:
    """Log that the service of a request has aborted the association."""
    requested = getattr(request, "RequestedSOPClassUID", None)
    _log(
        *(assoc, logging.ERROR),
        "Aborted the association with %s while its %s was served: %s, context %d",
        *(peer_name(assoc), request.msg_type),
        *(requested or getattr(request, "AffectedSOPClassUID", None), context_id),
        **of_request(request),
    )


def closing_unread(assoc: Any) -> None:
    """Log that a connection is closed because its peer does not read."""
    _log(
        *(assoc, logging.WARNING),
        "Closing the connection with %s, which has read nothing for %s s (AE.network_timeout)",
        *(peer_name(assoc), assoc.network_timeout),
    )


def said_nothing(assoc: Any) -> None:
    """Log a connection that has ended before anything came."""
    name = peer_name(assoc)
    _log(assoc, logging.DEBUG, "%s connected, sent nothing and disconnected", name)


def losing(assoc: Any) -> None:
    """Log a connection that has ended within a message, if it has."""
    if progress := assoc.progress():
        message_id, length = progress
        _log(
            *(assoc, logging.WARNING),
            "Lost the connection with %s within a message: %s, %d bytes so far",
            peer_name(assoc),
            "its Message ID is not known" if message_id is None else f"Message ID {message_id}",
            length,
            **({} if message_id is None else {"message_id": message_id}),
        )


def still_handled(assoc: Any) -> None:
    """Log that a handler still runs after its peer has disconnected."""
    _log(
        *(assoc, logging.WARNING),
        "A handler of the association with %s still runs after %.1f s, and its peer has gone",
        *(peer_name(assoc), time.monotonic() - assoc.path.job_began),
    )


def ended(assoc: Any, seconds: float) -> None:
    """Log a summary of an association."""
    if not _LOGGER.isEnabledFor(logging.INFO):
        return
    path = assoc.path
    end = "released" if assoc.is_released else "rejected" if assoc.is_rejected else ""
    _log(
        *(assoc, logging.INFO),
        "The association of %s with %s has ended: %.1f s, %s, %d bytes received, %d sent, %s",
        peer_name(assoc),
        assoc.titles()[1],
        seconds,
        assoc.tally.summary(path.requests_read, path.response_counts),
        path.bytes_received,
        path.all_bytes_sent,
        end or f"aborted ({assoc.dul.abort_reason})",
    )
