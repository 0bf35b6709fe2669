"""The AE of an MPPS SCP, and its handlers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from datetime import datetime, timezone
from io import BytesIO
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, evt

from nset import StatusError, status
from nset.mpps.notify import Notifier, Subscriber
from nset.mpps.steps import CREATE, GET, SET, Report
from nset.mpps.store import Store
from nset.mpps.writer import Writer

MPPS = "1.2.840.10008.3.1.2.3.3"
MPPS_RETRIEVE = "1.2.840.10008.3.1.2.3.4"
VERIFICATION = "1.2.840.10008.1.1"

_CLASSES = {CREATE: MPPS, SET: MPPS, GET: MPPS_RETRIEVE}


def entity(ae_title: str, maximum_associations: int) -> AE:
    """Return the AE.

    Parameters
    ----------
    ae_title : str
        Its title.
    maximum_associations : int
        How many associations it allows at a time.

    Returns
    -------
    pynetdicom.ae.ApplicationEntity
        The AE, which supports MPPS, MPPS Retrieve and Verification.
    """
    ae = AE(ae_title)
    ae.maximum_associations = maximum_associations
    ae.add_supported_context(MPPS)
    ae.add_supported_context(MPPS_RETRIEVE)
    ae.add_supported_context(VERIFICATION)
    return ae


@contextmanager
def writing(
    store: Store, *, is_strict: bool, subscribers: tuple[Subscriber, ...] = (), ae_title: str = ""
) -> Iterator[list[Any]]:
    """Give the handlers of a process, which has a writer of its own, for `nset.scp.run`.

    Parameters
    ----------
    store : Store
        Where reports are kept.
    is_strict : bool
        Whether nothing is excused.
    subscribers : tuple of Subscriber
        Who is notified of each report.
    ae_title : str
        By whom.

    Yields
    ------
    list of tuple
        Events and handlers.
    """
    notifiers = [Notifier(copy(store), subscriber, ae_title) for subscriber in subscribers]
    writer = Writer(store, is_strict=is_strict, notifiers=notifiers)
    try:
        yield handlers(writer)
    finally:
        writer.close()


def handlers(writer: Writer) -> list[tuple[Any, Callable[..., Any]]]:
    """Return the handlers of an MPPS SCP, for `nset.scp.start_server`.

    Parameters
    ----------
    writer : Writer
        What stores the reports.

    Returns
    -------
    list of tuple
        Events and handlers.
    """

    async def create(event: Any) -> Any:
        request = event.request
        return await stored(event, CREATE, request.AffectedSOPInstanceUID, request.AttributeList)

    async def update(event: Any) -> Any:
        request = event.request
        return await stored(event, SET, request.RequestedSOPInstanceUID, request.ModificationList)

    async def get(event: Any) -> Any:
        tags = tuple(event.attribute_identifiers)
        return await stored(event, GET, event.request.RequestedSOPInstanceUID, None, tags)

    async def echo(event: Any) -> int:
        return status.SUCCESS

    async def stored(event: Any, service: str, *rest: Any) -> tuple[int | Dataset, Dataset | None]:
        if event.context.abstract_syntax != _CLASSES[service]:
            raise StatusError(
                status.UNRECOGNIZED_OPERATION, f"the presentation context has no {service}"
            )
        answer = await writer.submit(_report(event, service, *rest))
        if not answer.tags or answer.attributes is None:
            if answer.status != status.SUCCESS:
                raise StatusError(
                    answer.status,
                    answer.comment or None,
                    error_id=answer.error_id,
                    attribute_identifiers=answer.tags,
                )
            return answer.status, answer.attributes
        some = Dataset()
        some.Status, some.AttributeIdentifierList = answer.status, list(answer.tags)
        return some, answer.attributes

    return [
        (evt.EVT_N_CREATE, create),
        (evt.EVT_N_SET, update),
        (evt.EVT_N_GET, get),
        (evt.EVT_C_ECHO, echo),
    ]


def _report(
    event: Any, service: str, uid: str | None, data: BytesIO | None, tags: tuple[int, ...] = ()
) -> Report:
    return Report(
        service,
        str(uid or ""),
        str(event.context.transfer_syntax),
        data.getvalue() if data is not None else b"",
        event.calling_ae_title,
        event.called_ae_title,
        peer=event.peer_address,
        received=datetime.now(timezone.utc).isoformat(timespec="microseconds"),
        tags=tags,
    )
