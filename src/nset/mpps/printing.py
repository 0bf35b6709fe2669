"""What the log and a terminal get to see of what a peer has sent."""

import json
import logging
from typing import Any
from unicodedata import category

from pydicom import DataElement, Dataset
from pydicom.dataelem import RawDataElement

from nset.logs import escaped


def printable(text: str) -> str:
    """Return a text with escapes of what would control a terminal, or end a line; not of spaces."""
    if text.isprintable():
        return text
    return "".join(char if category(char) == "Zs" else escaped(char) for char in text)


class TextFormatter(logging.Formatter):
    """Formats a record so that no peer can make up another one, or control a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line, without a traceback."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        """Return the lines of a traceback."""
        return "\n".join(map(printable, super().formatException(ei).split("\n")))


def readable(data_set: Dataset) -> Dataset:
    """Return a data set as DICOM's JSON model can have it.

    Parameters
    ----------
    data_set : pydicom.Dataset
        The data set, which is changed: elements that have no value of their VR, such as text in an
        Integer String or a number that is none, become UN, with their bytes.

    Returns
    -------
    pydicom.Dataset
        The same data set.
    """
    for tag in data_set.keys():  # noqa: SIM118  # values are not to be decoded yet
        came = data_set.get_item(tag)
        try:
            element = data_set[tag]
            if element.VR == "SQ":
                for item in element.value:
                    readable(item)
            json.dumps(element.to_json_dict(None, 0), allow_nan=False)
            str(element)
        except Exception:
            data = came.value if isinstance(came, RawDataElement) else str(came.value).encode()
            element = DataElement(tag, "OB", data or b"")
            element.VR = "UN"  # for which the constructor would take the VR of the tag
            data_set[tag] = element
    return data_set
