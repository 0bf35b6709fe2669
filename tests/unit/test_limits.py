"""What the limits of a server may be, and what follows from those that are not set."""

import dataclasses
import importlib
import os

import pytest

COUNTS = (
    *("pdu_length", "negotiation_length", "data_set_bytes", "pending_requests"),
    *("association_bytes", "server_bytes", "connections"),
)
OPTIONAL = ("pdu_length", "server_bytes", "connections")


@pytest.fixture
def limits(nset):
    return importlib.import_module("nset.scp").Limits


@pytest.mark.parametrize("value", [0, -1, -5, 2.5, "3", None], ids=repr)
@pytest.mark.parametrize("name", COUNTS)
def test_a_count_is_an_int_above_0(limits, name, value):
    if value is None and name in OPTIONAL:
        assert getattr(limits(**{name: value}), name) is None
    else:
        with pytest.raises(ValueError, match=f"^{name} must be an int above 0, not {value!r}$"):
            limits(**{name: value})


@pytest.mark.parametrize("value", [0, -0.5, "5", None], ids=repr)
def test_a_time_is_a_number_above_0(limits, value):
    message = f"^first_pdu_timeout must be a number above 0, not {value!r}$"
    with pytest.raises(ValueError, match=message):
        limits(first_pdu_timeout=value)


@pytest.mark.parametrize("name", [*COUNTS, "first_pdu_timeout"])
def test_what_is_given_is_kept(limits, name):
    given = limits(**{name: 1})
    assert getattr(given, name) == 1
    assert dataclasses.replace(given, **{name: getattr(limits(), name)}) == limits()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(given, name, 2)


def test_there_is_no_other_limit(limits):
    assert {field.name for field in dataclasses.fields(limits)} == {*COUNTS, "first_pdu_timeout"}


@pytest.mark.parametrize(
    ("given", "announced", "length"),
    [
        (None, 16382, 65536),  # PS3.8 has no least; peers send this much without having asked
        (None, 65523, 65536),
        (None, 65524, 65536),
        (None, 65525, 65537),
        (None, 131072, 131084),
        (None, 0xFFFFFFFF, 0xFFFFFFFF),
        (None, 0, 0xFFFFFFFF),
        (1000, 16382, 1000),
        (1000, 0, 1000),
    ],
)
def test_the_length_of_a_pdu(limits, given, announced, length):
    assert limits(pdu_length=given).pdu_length_for(announced) == length


def test_the_bytes_of_a_server_are_a_quarter_of_the_machines(limits, monkeypatch):
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__, raising=False)
    assert limits().bytes_for_server() == 1024000
    assert limits(server_bytes=5).bytes_for_server() == 5


@pytest.mark.parametrize("error", [ValueError, OSError, AttributeError])
def test_the_bytes_of_a_server_on_a_machine_that_does_not_say(limits, monkeypatch, error):
    def sysconf(name):
        raise error

    monkeypatch.setattr(os, "sysconf", sysconf, raising=False)
    assert limits().bytes_for_server() == 1 << 30


@pytest.mark.parametrize(("given", "number"), [(None, 110), (1, 1), (1000, 1000)])
def test_the_number_of_connections(limits, given, number):
    assert limits(connections=given).connections_for(10) == number
