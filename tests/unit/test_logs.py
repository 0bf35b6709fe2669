"""nset.logs: records as JSON."""

import importlib
import json
import logging
import sys

import pytest


@pytest.fixture
def formatted(nset):
    """What a record becomes, as an object."""
    formatter = importlib.import_module("nset.logs").JsonFormatter()

    def formatted(message="It is %s", *args, **attributes):
        record = logging.LogRecord("nset", logging.INFO, "file", 1, message, args, None)
        vars(record).update(attributes)
        line = formatter.format(record)
        assert line.isascii()
        assert line.isprintable()
        return json.loads(line)

    return formatted


def test_a_record(formatted):
    assert formatted("It is %s", "done", created=1.5) == {
        "time": "1970-01-01T00:00:01.500Z",
        "level": "INFO",
        "logger": "nset",
        "message": "It is done",
    }


def test_text_that_would_forge_records(formatted):
    assert formatted("%s", 'a\n{"level": "ERROR"}\x1b[2J\u2028')["message"] == (
        'a\n{"level": "ERROR"}\x1b[2J\u2028'
    )


def test_more_fields(formatted):
    line = formatted("x", peer="1.2.3.4:5", status=0x0110, level="mine", other={1})
    assert (line["peer"], line["status"], line["other"]) == ("1.2.3.4:5", 0x0110, "{1}")
    assert line["level"] == "INFO"


def test_exceptions(formatted):
    try:
        raise ValueError("no such step")
    except ValueError:
        line = formatted("x", exc_info=sys.exc_info(), stack_info="Stack:\n  here")
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("ValueError: no such step")
    assert line["stack"] == "Stack:\n  here"
