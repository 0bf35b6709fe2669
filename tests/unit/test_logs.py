"""nset.logs: records as JSON."""

import importlib
import json
import logging
import math
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
        return json.loads(line, parse_constant=pytest.fail)

    return formatted


class Silent:
    """What has no text."""

    def __str__(self):
        raise LookupError("no text")

    __repr__ = __str__


CIRCLE = []
CIRCLE.append(CIRCLE)


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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, "nan"),
        ([-math.inf], "[-inf]"),
        ({b"key": 1}, "{b'key': 1}"),
        ({("N-SET", "other"): 1}, "{('N-SET', 'other'): 1}"),
        (CIRCLE, "[[...]]"),
    ],
    ids=["NaN", "infinity", "bytes", "tuple", "circle"],
)
def test_what_json_cannot_have(formatted, value, text):
    line = formatted("x", odd=value, peer="1.2.3.4:5", status=0x0110)
    assert (line["odd"], line["peer"], line["status"]) == (text, "1.2.3.4:5", 0x0110)


def test_what_has_no_text(formatted):
    deep = []
    for _ in range(100_000):
        deep = [deep]
    line = formatted("x", silent=Silent(), deep=deep, peer="1.2.3.4:5")
    assert line["silent"].startswith("<test_logs.Silent object at ")
    assert line["deep"].startswith("<list object at ")
    assert line["peer"] == "1.2.3.4:5"


def test_lone_surrogates(formatted):
    """As of a file's name: to many parsers a line with one is no JSON."""
    line = formatted(
        "%s", "\udcff \ud83d \U0001f600 \\ud83d \ud83d\ud83d\ude00 \n", path=["\udc80\\"]
    )
    assert line["message"] == "\\udcff \\ud83d \U0001f600 \\ud83d \\ud83d\U0001f600 \n"
    assert line["path"] == ["\\udc80\\"]


def test_exceptions(formatted):
    try:
        raise ValueError("no such step")
    except ValueError:
        line = formatted("x", exc_info=sys.exc_info(), stack_info="Stack:\n  here")
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("ValueError: no such step")
    assert line["stack"] == "Stack:\n  here"
