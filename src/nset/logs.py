"""Log records as JSON, one object a line, and the DICOM fields of nset's records.

Such fields are attributes of a record, as ``logging`` has them by ``extra=``, so other formatters
find them, too.
"""

import json
import logging
import re
from datetime import datetime, timezone
from typing import Any, Final

from nset._rules import escaped

__all__ = ["JsonFormatter", "escaped", "fields"]

_OF_EVERY_RECORD: Final = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object in one line.

    It has ``time`` (ISO 8601, UTC), ``level``, ``logger`` and ``message``, ``exception`` with a
    traceback if there is one, and what the record was given by ``extra=``. nset's records have
    ``peer``, ``calling_ae_title`` and ``called_ae_title`` where they are about an association, and
    ``service``, ``message_id``, ``sop_class_uid``, ``sop_instance_uid`` and ``status`` where they
    are about a request.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end.

        Parameters
        ----------
        record : logging.LogRecord
            The record.

        Returns
        -------
        str
            ASCII. What JSON cannot have is there as text.
        """
        time = datetime.fromtimestamp(record.created, timezone.utc)
        line = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        for name, value in vars(record).items():
            if name not in _OF_EVERY_RECORD:
                line.setdefault(name, value)
        try:
            text = _as_json(line)
        except Exception:  # such as NaN, a key that is no text, a str() that raises
            text = _as_json({name: _plain(value) for name, value in line.items()})
        return _ESCAPE.sub(_without_lone_surrogate, text) if "\\ud" in text else text


# In JSON: a surrogate pair; a lone surrogate, which many parsers refuse; any other escape.
_ESCAPE: Final = re.compile(r"\\(?:ud[89ab]..\\ud[c-f]..|(ud[89a-f]..)|.)")


def _without_lone_surrogate(escape: re.Match[str]) -> str:
    return f"\\\\{escape[1]}" if escape[1] else escape[0]


def _as_json(value: Any) -> str:
    return json.dumps(value, default=str, allow_nan=False)


def _plain(value: Any) -> Any:
    """Return a value as it is, or as text if it cannot be JSON."""
    try:
        _as_json(value)
    except Exception:
        try:
            return repr(value)
        except Exception:
            return object.__repr__(value)
    return value


def fields(event: Any, **more: Any) -> dict[str, Any]:
    """Return the fields of a request, for the ``extra=`` of a program's own log records.

    Parameters
    ----------
    event : pynetdicom.events.Event
        What a handler of a DIMSE service got.
    **more
        Other fields.

    Returns
    -------
    dict of str to object
        Those that `JsonFormatter` names, without what the request has not.
    """
    return {**of_association(event.assoc), **of_request(event.request), **more}


def of_association(assoc: Any) -> dict[str, Any]:
    """Return the fields of an association, one of `nset.scp` or of pynetdicom."""
    if hasattr(assoc, "titles"):  # which makes none of pynetdicom's objects
        calling, called = assoc.titles()
        address = assoc.address
    else:
        primitive = assoc.requestor.primitive  # of the A-ASSOCIATE-RQ
        calling = assoc.requestor.ae_title
        called = primitive.called_ae_title if primitive else assoc.acceptor.ae_title
        peer = assoc.acceptor if assoc.is_requestor else assoc.requestor
        address = peer.address, peer.port
    known = {"calling_ae_title": calling, "called_ae_title": called}
    return {
        "peer": address_name(address),
        **{name: value for name, value in known.items() if value},
    }


def of_request(request: Any) -> dict[str, Any]:
    """Return the fields of a request."""
    found = {
        "service": type(request).__name__.replace("_", "-"),
        "message_id": request.MessageID,
        "sop_class_uid": _first(request, "SOPClassUID"),
        "sop_instance_uid": _first(request, "SOPInstanceUID"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _first(request: Any, name: str) -> str | None:
    for whose in ("Requested", "Affected"):
        uid = getattr(request, whose + name, None)
        if uid is not None:
            return str(uid)
    return None


def address_name(address: Any) -> str:
    """Return host and port of an address, as in ``[::1]:104``."""
    if not (isinstance(address, tuple) and len(address) >= 2):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
