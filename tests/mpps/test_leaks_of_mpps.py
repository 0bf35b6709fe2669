"""Nothing that ``nset mpps`` does, or refuses to do, keeps memory, objects or descriptors."""

import asyncio
import importlib
import itertools
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stdout
from copy import copy
from types import SimpleNamespace
from typing import Any

import click
import pytest
from acceptors import is_over, until
from encoded_data_sets import nested
from leaks import check, check_objects, frees_at_once, quiet, tried
from mpps_peers import ROOT, Modality, Subscriber, Workstation, encoded
from mpps_table import VITAL, whole
from n_set_requests import uid as uid_bytes
from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.association import Association

pytestmark = [pytest.mark.filterwarnings("ignore"), frees_at_once]


def step(*left_out: str) -> Dataset:
    """One that has what every step needs, and little more."""
    step = whole()
    vital = {name for name in VITAL if ">" not in name} | {"PatientID"}
    for element in whole():
        if element.keyword not in vital - {*left_out}:
            del step[element.tag]
    return step


def ending(state: str) -> bytes:
    listed = Dataset()
    listed.PerformedProcedureStepStatus = state
    return encoded(listed)


WHOLE, WITHOUT = encoded(step()), encoded(step("Modality"))
GOING, DONE = ending("IN PROGRESS"), ending("COMPLETED")
TOO_DEEP = nested(65)


@pytest.fixture
def mpps(nset: Any) -> Any:
    """Import a module of it."""
    return lambda name: importlib.import_module(f"nset.mpps.{name}")


@pytest.fixture
def store(mpps: Any, url: str) -> Iterator[Any]:
    with closing(mpps("stores").open_store(url, create=True)) as opened:
        yield opened


@pytest.fixture
def new_uid() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"{ROOT}.{next(numbers)}"


@pytest.fixture
def report(mpps: Any) -> Callable[..., Any]:
    """Make a report."""
    make, syntax = mpps("steps").Report, str(ImplicitVRLittleEndian)
    known = {"calling": "CT", "called": "RIS", "peer": "10.0.0.4", "received": "2026-11-28T10:00"}
    return lambda service, uid, data=b"", **more: make(
        service, uid, syntax, data, **{**known, **more}
    )


# -- Without a server -----------------------------------------------------------------------------


def test_reports(mpps: Any, store: Any, report: Any, new_uid: Any) -> None:
    notifier = SimpleNamespace(subscriber="A", wake=lambda: None)
    writer = mpps("writer").Writer(store, notifiers=[notifier])
    strict = mpps("writer").Writer(store, is_strict=True)
    known = new_uid()
    odd = report("N-CREATE", "1.3", WHOLE, peer="\udc80")

    def all_of_a_step() -> None:
        uid = new_uid()
        for service, data in (("N-CREATE", WHOLE), ("N-SET", GOING), ("N-SET", DONE)):
            assert writer.store([report(service, uid, data)])[0].status == 0x0000
        store.drop("A", "2027")

    def group() -> None:
        one, other = new_uid(), new_uid()
        steps = [report("N-CREATE", uid, WHOLE) for uid in (one, other)]
        steps.append(report("N-CREATE", known, GOING))
        answers = writer.store([*steps, report("N-SET", one, DONE), report("N-SET", one, GOING)])
        assert [answer.status for answer in answers] == [0, 0, 0x0111, 0, 0x0110]
        store.drop("A", "2027")

    def refused(status: int, *reports: Any, by: Any = writer) -> Callable[[], None]:
        def run() -> None:
            assert status in [answer.status for answer in by.store(list(reports))]

        return run

    def lost() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "write", unavailable)
            refused(0x0213, report("N-CREATE", known, GOING))()

    def unavailable(*_: Any) -> None:
        raise mpps("store").Unavailable("the disk is full")

    assert writer.store([report("N-CREATE", known, WHOLE)])[0].status == 0x0000
    writer.store([report("N-CREATE", known, WHOLE)])
    store.drop("A", "2027")
    check(
        {
            "a step": all_of_a_step,
            "a group": group,
            "one that is there": refused(0x0111, report("N-CREATE", known, GOING)),
            "one that is not": refused(0x0112, report("N-SET", "1.2", DONE)),
            "no UID": refused(0x0117, report("N-CREATE", "", WHOLE)),
            "what is missing": refused(0x0120, report("N-CREATE", "1.2", WITHOUT)),
            "no status": refused(0x0106, report("N-SET", known, ending("LOST"))),
            "N-GET": refused(0x0000, report("N-GET", known)),
            "N-GET of some": refused(0x0001, report("N-GET", known, tags=(0x00100010, 0x00101234))),
            "N-GET of none": refused(0x0112, report("N-GET", "1.2")),
            "no database takes it": refused(0x0110, odd),
            "nor one of these": refused(0x0110, odd, report("N-SET", known, GOING)),
            "the store is not available": lost,
        },
        times=6,
    )
    with quiet():
        check_objects(refused(0x0213, report("N-SET", known, TOO_DEEP)), 6)
        check_objects(refused(0x0120, report("N-CREATE", "1.2", WHOLE), by=strict), 6)


def test_stores(mpps: Any, url: str, store: Any, report: Any, tmp_path: Any) -> None:
    open_store, writer = mpps("stores").open_store, mpps("writer").Writer(store)
    unused = open_store(url)
    for number in (1, 2):
        writer.store([report("N-CREATE", f"{ROOT}.{number}", WHOLE)])
    (tmp_path / "foreign").write_bytes(b"no database" * 100)

    def opened(**options: Any) -> None:
        with closing(open_store(url, **options)) as another:
            another.get("1.2")

    def copied() -> None:
        with closing(copy(unused)) as own:
            own.check(create=False)

    def claimed() -> None:
        assert store.claim("A", "2026-11-28T10:00", "2026-11-28T10:01")
        assert not store.claim("A", "2026-11-28T10:00", "2026-11-28T10:02")
        store.release("A", "2026-11-28T10:01", [])

    async def submitted() -> None:
        other = mpps("writer").Writer(copy(unused))
        await asyncio.gather(*(other.submit(report("N-GET", f"{ROOT}.1")) for _ in range(3)))
        other.close()

    check(
        {
            "open": opened,
            "create": lambda: opened(create=True),
            "a copy": copied,
            "find": lambda: list(store.find(patient_id="1", status="IN PROGRESS")),
            "find one": lambda: next(store.find(1)),
            "no condition": tried(lambda: list(store.find(nothing="1"))),
            "a step": lambda: (store.scheduled(f"{ROOT}.1"), store.messages(f"{ROOT}.1")),
            "its data set": lambda: store.get(f"{ROOT}.1").data_set().Modality,
            "what waits": lambda: store.waiting("A"),
            "claim": claimed,
        }
    )
    with quiet():
        check_objects(lambda: asyncio.run(submitted()), 6)
        for bad in ("/none", "/none/none", "/foreign"):
            check_objects(tried(open_store, f"sqlite:///{tmp_path}{bad}", create="/" in bad[1:]), 6)
        check_objects(tried(open_store, "mysql://"), 6)


def test_commands(mpps: Any, url: str, store: Any, report: Any, monkeypatch: Any) -> None:
    command = mpps("cli").mpps
    writer = mpps("writer").Writer(store)
    for number in (1, 2):
        writer.store([report("N-CREATE", f"{ROOT}.{number}", WHOLE)])
    good = {
        "list": ["list", "--patient-id", "1"],
        "list none": ["list", "--status", "completed"],
        "show": ["show", f"{ROOT}.1"],
        "export": ["export", "--json"],
    }
    bad = {
        "show none": ["show", "1.2"],
        "no date": ["list", "--since", "7"],
        "no store": ["list", "--store", "nowhere"],
        "no subscriber": ["--notify", "nobody"],
        "no title": ["--ae-title", ""],
    }

    def run(arguments: list[str]) -> None:
        command.main(arguments, standalone_mode=False)

    with (
        open(os.devnull, "w") as sink,
        redirect_stdout(sink),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("NSET_MPPS_STORE", url)
        for arguments in good.values():
            check_objects(lambda arguments=arguments: run(arguments), 6)
        for arguments in bad.values():
            with pytest.raises(click.ClickException):
                run(arguments)
            check_objects(tried(run, arguments), 6)


def test_texts(mpps: Any) -> None:
    notify, printing = mpps("notify"), mpps("printing")
    formatter = printing.TextFormatter("%(message)s")
    record = logging.makeLogRecord(
        {"msg": "\x1b", "exc_info": (ValueError, ValueError("\n"), None)}
    )
    wrong = Dataset()
    with quiet():
        wrong.add_new("NumberOfFrames", "IS", "1")
        wrong["NumberOfFrames"]._value = "no number"
    check(
        {
            "a subscriber": lambda: notify.subscriber("RIS@[::1]:104"),
            "none": tried(notify.subscriber, "RIS@nowhere"),
            "printable": lambda: printing.printable("\x1b[2J"),
            "a record": lambda: formatter.format(record),
            "not readable": lambda: printing.readable(copy(wrong)),
        }
    )


# -- With a server --------------------------------------------------------------------------------


def test_servers(serving: Any, new_uid: Any) -> None:
    def report() -> None:
        uid = new_uid()
        with Modality(served.port) as modality, Workstation(served.port) as workstation:
            assert modality.set(uid, DONE).Status == 0x0112
            assert modality.create(uid, WITHOUT).Status == 0x0120
            assert modality.create(uid, WHOLE).Status == 0x0000
            assert modality.set(uid, DONE).Status == 0x0000
            assert modality.set(uid, GOING).Status == 0x0110
            answer, _ = workstation.get(uid, 0x00100020)
            assert answer.Status == 0x0000
            assert workstation.get(uid, 0x00101234)[0].Status == 0x0001
            assert modality.create(None, WHOLE).Status == 0x0117
            modality.release()

    def leave() -> None:
        """Before the answer."""
        uid = new_uid()
        with Modality(served.port) as modality:
            modality.ask(0x0140, WHOLE, x1000=uid_bytes(uid))
        until(lambda: served.store.get(uid) and is_over(served.server))

    def serve() -> None:
        with serving() as served, Modality(served.port) as modality:
            modality.create(new_uid(), WHOLE)
            modality.release()

    with quiet():
        with serving() as served:
            check_objects(report, 8)
            check_objects(leave, 10)
        check_objects(serve, 4)


def test_subscribers(mpps: Any, serving: Any, new_uid: Any, monkeypatch: Any) -> None:
    """One that is there, one that refuses, and one that is down, or comes to be."""
    notify, workstation = mpps("notify"), Subscriber()
    monkeypatch.setattr(notify, "_AGAIN_SECONDS", (0.001, 0.001))

    def report() -> None:
        with Modality(served.port) as modality:
            modality.create(new_uid(), WHOLE)
            modality.release()
        until(lambda: not served.store.waiting(there.name))
        served.store.drop(down.name, "2027")  # else there is more each time
        until(lambda: not any(isinstance(one, Association) for one in threading.enumerate()))

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        down = notify.subscriber("STATION@{}:{}".format(*held.getsockname()))
        with quiet(), workstation.listening(("127.0.0.1", 0)) as port:
            there = notify.subscriber(f"STATION@127.0.0.1:{port}")
            with serving(subscribers=(there, down)) as served:
                check_objects(report, 8)
