"""What handlers may raise or return beside what pynetdicom takes: `StatusError`, a response."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from pydicom import Dataset
from pynetdicom import dimse_primitives, evt

from nset import _rules
from nset._status_error import StatusError, checked
from nset.dataset import MAX_INFLATED_BYTES, DataSetError
from nset.logs import of_association, of_request
from nset.primitive import N_SET
from nset.pynetdicom._data_sets import decoded
from nset.pynetdicom._provider import _peer, response_to

_LOGGER = logging.getLogger("nset")


def log_status_error(error: StatusError, assoc: Any, request: Any) -> None:
    """Log the answer of a handler."""
    text = "Answering %s request %s from %s: %s"
    _log(logging.INFO, text, error, assoc, request, error.status)


def refused(error: DataSetError, assoc: Any, request: Any) -> tuple[int, None]:
    """Log that a data set exceeds a bound; return the answer of a handler that has met it."""
    text = "The data set of %s request %s from %s was not decoded: %s"
    _log(logging.ERROR, text, error, assoc, request, _rules.RESOURCE_LIMITATION)
    return _rules.RESOURCE_LIMITATION, None


def _log(level: int, text: str, error: Exception, assoc: Any, request: Any, status: int) -> None:
    """Log why a request gets its status; an exception of a log handler does not prevent that."""
    if not _LOGGER.isEnabledFor(level):
        return
    try:
        _LOGGER.log(
            *(level, text, request.msg_type, request.MessageID, _peer(assoc), error),
            extra={**of_association(assoc), **of_request(request), "status": status},
        )
    except KeyboardInterrupt:
        raise
    except BaseException:
        return


def status_of(error: StatusError) -> Any:
    """Return the status that a handler would have returned: an int, or a `Dataset` for details."""
    return _data_set(Status=error.status, **error.details) if error.details else error.status


def response_with(request: Any, error: StatusError) -> Any:
    """Return the response to a request whose handler has raised `StatusError`."""
    response = response_to(request, error.status)
    for keyword, value in details_of(error, type(response)).items():
        setattr(response, keyword, value)
    return response


def details_of(error: StatusError, kind: type) -> dict[str, Any]:
    """Return the details that a response of a class has; log those that it has not."""
    blank, details = kind(), {}
    for keyword, value in error.details.items():
        # pynetdicom's N-CREATE response lacks the list that PS3.7 Sections C.4.2 and C.5 give it.
        if hasattr(blank, keyword) or (
            keyword == "AttributeIdentifierList" and kind is dimse_primitives.N_CREATE
        ):
            details[keyword] = value
        else:
            name = kind.__name__.replace("_", "-")
            _LOGGER.warning("A %s response has no %s: it is left out", name, keyword)
    return details


def is_response(answer: Any) -> bool:
    """Return whether a handler of EVT_N_SET has returned a response."""
    return issubclass(type(answer), N_SET) and answer.is_valid_response


def trigger(stock: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """Replace ``trigger``: what a handler of EVT_N_SET may do beside what pynetdicom takes."""

    @wraps(stock)
    def trigger(assoc: Any, event: Any, attrs: Any = None) -> Any:
        if event is not evt.EVT_N_SET:
            return stock(assoc, event, attrs)
        try:
            answer = stock(assoc, event, attrs)
        except DataSetError as error:
            return refused(error, assoc, attrs["request"])
        except StatusError as exc:
            status_error = checked(exc)
            log_status_error(status_error, assoc, attrs["request"])
            return status_of(status_error), None
        return _parts(answer, attrs["context"]) if is_response(answer) else answer

    return trigger


def _parts(response: N_SET, context: Any) -> tuple[Dataset, Dataset | None]:
    """Return what a handler returns in place of a response: its status, and its data set."""
    keywords = ("Status", *_rules.STATUS_OPTIONAL_KEYWORDS)
    status = {keyword: getattr(response, keyword) for keyword in keywords}
    stream = response.AttributeList
    data = stream.getvalue() if stream is not None else b""
    return (
        _data_set(**{keyword: value for keyword, value in status.items() if value is not None}),
        decoded(data, context.transfer_syntax, MAX_INFLATED_BYTES) if data else None,
    )


def _data_set(**elements: Any) -> Dataset:
    data_set = Dataset()
    for keyword, value in elements.items():
        setattr(data_set, keyword, value)
    return data_set
