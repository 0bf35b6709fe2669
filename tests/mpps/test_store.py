"""What is kept of reports, on both stores; groups of them; and what a store does that fails."""

import asyncio
import functools
import importlib
import logging
import sqlite3
import threading
from contextlib import closing

import pytest
from mpps_peers import ROOT, Modality, encoded
from mpps_table import modifications, whole
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

UID = f"{ROOT}.1"
WHOLE = encoded(whole())
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def last():
    step = modifications(whole())
    step.PerformedProcedureStepStatus = "COMPLETED"
    step.PerformedProcedureStepEndDate = "20261128"
    return step


LAST = encoded(last())


@pytest.fixture
def mpps(nset):
    """Import a module of it."""
    return lambda name: importlib.import_module(f"nset.mpps.{name}")


@pytest.fixture
def opened(mpps, url):
    """Open another view of the store; all are closed."""
    views = []

    def open_store(**options):
        views.append(mpps("stores").open_store(url, create=True, **options))
        return views[-1]

    yield open_store
    for view in views:
        view.close()


@pytest.fixture
def report(mpps):
    """Make a report."""
    known = {"calling": "CT", "called": "RIS", "peer": "10.0.0.4", "received": "2026-11-27T10:00"}

    def make(service, number, data, **more):
        syntax = str(ImplicitVRLittleEndian)
        return mpps("steps").Report(service, f"{ROOT}.{number}", syntax, data, **{**known, **more})

    return make


# -- What is kept ----------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_kept_byte_for_byte_and_merged(serving, syntax):
    created, changes = encoded(whole(), syntax), encoded(last(), syntax)
    with serving() as served, Modality(served.port, syntax) as modality:
        assert modality.create(UID, created).Status == 0x0000
        assert modality.set(UID, changes).Status == 0x0000
        first, second = served.store.messages(UID)
        step = served.store.get(UID)
    assert (first.number, first.report.service, first.report.data) == (1, "N-CREATE", created)
    assert (second.number, second.report.service, second.report.data) == (2, "N-SET", changes)
    for report in (first.report, second.report):
        assert (report.uid, report.transfer_syntax) == (UID, syntax)
        assert (report.calling, report.called, report.peer) == ("RAW", "ANY-SCP", "127.0.0.1")
    merged = whole()
    merged.update(last())
    assert step.data_set() == merged
    assert (step.transfer_syntax, step.messages) == (syntax, 2)


@pytest.mark.parametrize("first", SYNTAXES)
@pytest.mark.parametrize("second", SYNTAXES)
@pytest.mark.parametrize("names_set", [False, True], ids=["", "names its character set"])
def test_an_n_set_in_another_transfer_syntax(serving, first, second, names_set):
    """The step stays in that of the N-CREATE."""
    created, changes = whole(), last()
    created.TotalNumberOfExposures, changes.TotalNumberOfExposures = 1, 0x0102
    for data_set in (created, changes):
        data_set.SpecificCharacterSet = "ISO_IR 100"
        data_set.PerformedSeriesSequence[0].OperatorsName = "Gómez^José"
        data_set.PerformedProcedureStepDescription = "Röntgen"
    expected = Dataset()
    expected.update(created)
    expected.update(changes)
    data = encoded(changes, second)
    if not names_set:  # its first element
        data = data[8 + len("ISO_IR 100") :]
    with serving() as served:
        with Modality(served.port, first) as modality:
            assert modality.create(UID, encoded(created, first)).Status == 0x0000
        with Modality(served.port, second) as modality:
            assert modality.set(UID, data).Status == 0x0000
        step = served.store.get(UID)
    assert step.transfer_syntax == first
    assert step.data_set() == expected


def test_columns(serving):
    created, items = whole(), whole().ScheduledStepAttributesSequence
    items[0].AccessionNumber = "A1"
    items.append(Dataset())
    items[1].StudyInstanceUID = "1.2.3.5"
    created.ScheduledStepAttributesSequence = items
    created.PatientID, created.Modality, created.PerformedStationAETitle = "P1", "CT", "CT_4"
    with serving() as served, Modality(served.port) as modality:
        assert modality.create(UID, created).Status == 0x0000
        (step,) = served.store.find()
        assert modality.set(UID, LAST).Status == 0x0000
        (ended,) = served.store.find()
        scheduled = served.store.scheduled(UID)
    assert (step.uid, step.status, step.patient_id, step.modality) == (
        UID,
        "IN PROGRESS",
        "P1",
        "CT",
    )
    assert (step.station_ae_title, step.calling_ae_title, step.called_ae_title) == (
        *("CT_4", "RAW", "ANY-SCP"),
    )
    assert (step.started, step.ended) == ("20261127101530", "20261127101530")
    assert (ended.status, ended.ended, ended.created) == (
        *("COMPLETED", "20261128101530", step.created),
    )
    assert ended.updated > step.updated == step.created
    assert scheduled == [("1.2.3.4", "A1", "1", "1"), ("1.2.3.5", "", "", "")]


def test_a_nul_in_a_time(serving):
    """PostgreSQL takes none, and a report is not refused for it."""
    ended = encoded(last()).replace(b"20261128", b"2026\x001128"[:8])
    with serving() as served, Modality(served.port) as modality:
        assert modality.create(UID, WHOLE).Status == 0x0000
        assert modality.set(UID, ended).Status == 0x0000
        (step,) = served.store.find()
    assert (step.status, step.ended) == ("COMPLETED", "2026112101530")


def test_character_sets(serving):
    """PS3.4 F.7.2.2.3: the step has both, those of an N-SET without one are as the step's."""
    created, more, other = whole(), Dataset(), Dataset()
    created.SpecificCharacterSet = "ISO_IR 100"
    created.PatientName = "Müller^Anna"
    created.PerformedSeriesSequence[0].OperatorsName = "Gómez^José"
    more.SpecificCharacterSet = "ISO_IR 192"
    more.PerformedProcedureStepDescription = "Röntgen Δ"
    other.CommentsOnThePerformedProcedureStep = "x"
    in_latin = encoded(other).replace(b"x ", "ü".encode("latin-1") + b" ")
    with serving() as served, Modality(served.port) as modality:
        assert modality.create(UID, created).Status == 0x0000
        assert modality.set(UID, in_latin).Status == 0x0000
        assert served.store.get(UID).data_set().CommentsOnThePerformedProcedureStep == "ü"
        assert modality.set(UID, more).Status == 0x0000
        now = served.store.get(UID).data_set()
    assert now.SpecificCharacterSet == "ISO_IR 192"
    assert now.PatientName == "Müller^Anna"
    assert now.PerformedSeriesSequence[0].OperatorsName == "Gómez^José"
    assert now.PerformedProcedureStepDescription == "Röntgen Δ"
    assert now.CommentsOnThePerformedProcedureStep == "ü"


SEARCHES = [
    ({}, [5, 4, 3, 2, 1]),
    ({"limit": 2}, [5, 4]),
    ({"patient_id": "P2"}, [4, 2]),
    ({"patient_id": "P2", "status": "COMPLETED"}, [2]),
    ({"status": "IN PROGRESS"}, [5, 4, 3, 1]),
    ({"study_uid": "1.2.3"}, [3]),
    ({"accession_number": "A5"}, [5]),
    ({"ae_title": "CT_1"}, [1]),
    ({"ae_title": "CT"}, [5, 4, 3, 2, 1]),
    ({"since": "2026-11-27T10:04"}, [5, 4]),
    ({"patient_id": "' OR 1=1 --"}, []),
]


def test_searches(opened, mpps, report, monkeypatch):
    monkeypatch.setattr(mpps("store"), "_PAGE", 2)
    store = opened()
    writer = mpps("writer").Writer(store)
    for number in range(1, 6):
        step = whole()
        step.PatientID = "P1" if number % 2 else "P2"
        step.PerformedStationAETitle = f"CT_{number}"
        (item,) = step.ScheduledStepAttributesSequence
        item.StudyInstanceUID, item.AccessionNumber = f"1.2.{number}", f"A{number}"
        received = f"2026-11-27T10:0{number}"
        made = report("N-CREATE", number, encoded(step), received=received)
        assert [answer.status for answer in writer.store([made])] == [0x0000]
    assert [answer.status for answer in writer.store([report("N-SET", 2, LAST)])] == [0x0000]
    for conditions, numbers in SEARCHES:
        found = [step.uid for step in store.find(**conditions)]
        assert found == [f"{ROOT}.{number}" for number in numbers], conditions


# -- Groups ----------------------------------------------------------------------------------------


def test_a_group_is_in_order(opened, mpps, report):
    store = opened()
    group = [
        report("N-SET", 1, LAST),
        report("N-CREATE", 1, WHOLE),
        report("N-CREATE", 2, WHOLE),
        report("N-SET", 1, encoded(modifications(whole()))),
        report("N-SET", 1, LAST),
        report("N-SET", 1, encoded(modifications(whole()))),
    ]
    answers = mpps("writer").Writer(store).store(group)
    assert [answer.status for answer in answers] == [0x0112, 0, 0, 0, 0, 0x0110]
    assert [message.number for message in store.messages(UID)] == [1, 2, 3]
    assert (store.get(UID).status, store.get(f"{ROOT}.2").status) == ("COMPLETED", "IN PROGRESS")


@pytest.mark.parametrize("is_strict", [False, True])
def test_a_commit_whose_answer_is_lost(opened, mpps, report, monkeypatch, is_strict):
    """What it has kept is acknowledged, once for each report, and not kept again."""
    store = opened()
    write, is_lost = store.write, iter([True, False])

    def write_and_lose(*arguments):
        answers = write(*arguments)
        if next(is_lost):
            raise mpps("store").Unavailable("the connection is lost")
        return answers

    monkeypatch.setattr(store, "write", write_and_lose)
    group = [
        report("N-CREATE", 1, WHOLE),
        report("N-SET", 1, encoded(modifications(whole())), received="2026-11-27T10:01"),
        report("N-SET", 1, LAST, received="2026-11-27T10:02"),
    ]
    answers = mpps("writer").Writer(store, is_strict=is_strict).store(group)
    assert [answer.status for answer in answers] == [0x0000] * 3
    assert [message.report for message in store.messages(UID)] == group
    assert store.get(UID).status == "COMPLETED"


def test_a_report_that_fails_does_not_fail_its_neighbours(opened, mpps, report, caplog):
    store = opened()
    group = [report("N-CREATE", number, WHOLE) for number in (1, 2, 3)]
    group[1] = group[1]._replace(peer="\udc80")  # no database takes it
    answers = mpps("writer").Writer(store).store(group)
    assert [answer.status for answer in answers] == [0x0000, 0x0110, 0x0000]
    assert [step.uid for step in store.find()] == [f"{ROOT}.3", f"{ROOT}.1"]
    assert f"N-CREATE of {ROOT}.2 is refused" in caplog.messages


def test_what_waits_is_one_transaction(mpps, report):
    """Reports that come while one is stored are the next group."""
    groups, first, going = [], threading.Event(), threading.Event()

    class Slow:
        def write(self, uids, apply, subscribers):
            groups.append(list(uids))
            first.set()
            assert going.wait(10)
            return [mpps("rules").DONE] * len(groups[-1])

        def close(self):
            pass

    async def ask(writer):
        waiting = [writer.submit(report("N-SET", 0, LAST))]
        await asyncio.to_thread(first.wait, 10)
        waiting += [writer.submit(report("N-SET", number, LAST)) for number in (1, 2, 3)]
        going.set()
        return await asyncio.gather(*waiting)

    writer = mpps("writer").Writer(Slow())
    assert [answer.status for answer in asyncio.run(ask(writer))] == [0] * 4
    writer.close()
    assert groups == [[f"{ROOT}.0"], [f"{ROOT}.{number}" for number in (1, 2, 3)]]


def test_notifiers_are_woken_where_something_is_stored(opened, mpps, report):
    woken = []

    class Notifier:
        subscriber = "A"

        def wake(self):
            woken.append(store.waiting("A"))

    store = opened()
    writer = mpps("writer").Writer(store, notifiers=[Notifier()])
    for reports in ([report("N-CREATE", 1, WHOLE)], [report("N-GET", 1, b"")]):
        assert [answer.status for answer in writer.store(reports)] == [0x0000]
    assert woken == [[("2026-11-27T10:00", UID, 1, 1)]]


@pytest.mark.parametrize("group", [1, 7])
def test_two_processes_with_the_same_instances(opened, mpps, report, group):
    """One of them creates a step, one of them ends it: whoever is first in the database."""
    count, answers = 42, {}
    start = threading.Barrier(2)

    def run(name, writer):
        start.wait()
        for service, data in (("N-CREATE", WHOLE), ("N-SET", LAST)):
            reports = [report(service, n, data, peer=name) for n in range(count)]
            if service == "N-SET":  # of its own, or the second is the first come again
                reports = [item._replace(data=encoded(unlike(name))) for item in reports]
            for at in range(0, count, group):
                done = writer.store(reports[at : at + group])
                answers.setdefault((name, service), []).extend(answer.status for answer in done)

    def unlike(name):
        step = last()
        step.CommentsOnThePerformedProcedureStep = name
        return step

    writers = [mpps("writer").Writer(opened(), is_strict=True) for _ in range(2)]
    threads = [
        threading.Thread(target=run, args=(name, writer))
        for name, writer in zip("ab", writers, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for service, lost in (("N-CREATE", 0x0111), ("N-SET", 0x0110)):
        pairs = zip(answers["a", service], answers["b", service], strict=True)
        assert all(sorted(pair) in ([0, lost], [0, 0]) for pair in pairs), answers
    store = opened()
    for number in range(count):
        assert [item.report.service for item in store.messages(f"{ROOT}.{number}")] == [
            *("N-CREATE", "N-SET"),
        ]


# -- Failures --------------------------------------------------------------------------------------


on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize(
    "url", [pytest.param("postgresql", marks=pytest.mark.peers)], indirect=True
)


@on_sqlite
def test_a_full_disk(serving, mpps, monkeypatch):
    """What was acknowledged stays; when there is room, it goes on."""
    connect, pages = mpps("sqlite").SqliteStore.connect, [40]

    def limited(self):
        connection = connect(self)
        connection.execute(f"PRAGMA max_page_count = {pages[0]}")
        return connection

    monkeypatch.setattr(mpps("sqlite").SqliteStore, "connect", limited)
    with serving() as served, Modality(served.port) as modality:
        statuses = [modality.create(f"{ROOT}.{number}", WHOLE).Status for number in range(60)]
        stored = statuses.index(0x0213)
        assert statuses == [0x0000] * stored + [0x0213] * (60 - stored)
        assert len(list(served.store.find())) == stored
        pages[0] = 4000
        assert modality.create(f"{ROOT}.100", WHOLE).Status == 0x0000
        assert modality.set(f"{ROOT}.0", LAST).Status == 0x0000
        assert len(list(served.store.find())) == stored + 1


def test_a_locked_database(serving, url, mpps, monkeypatch, caplog):
    monkeypatch.setattr(mpps("sqlite"), "_LOCKED_SECONDS", 0.05)
    if url.startswith("sqlite"):
        connect = functools.partial(sqlite3.connect, url.removeprefix("sqlite:///"))
        lock = "BEGIN IMMEDIATE"
    else:
        monkeypatch.setattr(mpps("postgresql"), "_LOCKED_SECONDS", 0.05)
        connect = functools.partial(importlib.import_module("psycopg").connect, url)
        lock = "LOCK TABLE steps"
    with serving() as served, Modality(served.port) as modality:
        other = connect()
        other.execute(lock)
        answer = modality.create(UID, WHOLE)
        assert answer.Status == 0x0213
        assert answer.ErrorComment == "the store is not available"
        assert "1 reports are refused" in caplog.text
        other.rollback()
        other.close()
        assert modality.create(UID, WHOLE).Status == 0x0000
        assert [step.uid for step in served.store.find()] == [UID]


@on_sqlite
def test_a_lost_file(opened, mpps, tmp_path):
    """No empty file stands for it."""
    store, path = opened(), tmp_path / "mpps.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO nset_mpps VALUES (99)")
        connection.commit()
    with pytest.raises(mpps("store").StoreError, match="the schema has version 99"):
        store.migrate()
    store.close()
    path.rename(tmp_path / "moved")
    with pytest.raises(mpps("store").Unavailable, match="unable to open database file"):
        list(store.find())
    assert not path.exists()
    (tmp_path / "moved").rename(path)
    assert list(store.find()) == []


@on_sqlite
def test_a_file_that_is_moved_or_replaced(serving, opened, tmp_path):
    """What is acknowledged is in the file that has the path, and not in one that had it."""
    path, moved = tmp_path / "mpps.sqlite", tmp_path / "moved"
    with serving() as served, Modality(served.port) as modality:
        assert modality.create(UID, WHOLE).Status == 0x0000
        assert [step.status for step in served.store.find()] == ["IN PROGRESS"]
        path.rename(moved)
        assert modality.set(UID, LAST).Status == 0x0213
        assert not path.exists()
        moved.rename(path)
        assert modality.set(UID, LAST).Status == 0x0000
        assert [step.status for step in served.store.find()] == ["COMPLETED"]
        path.rename(moved)
        opened()
        assert modality.set(UID, LAST).Status == 0x0112
        assert modality.create(UID, WHOLE).Status == 0x0000
        assert [step.status for step in served.store.find()] == ["IN PROGRESS"]


@on_sqlite
def test_a_file_that_is_moved_before_the_commit(opened, mpps, tmp_path):
    store = opened()
    with pytest.raises(mpps("store").Unavailable, match="the database is gone"):
        store.write([UID], lambda changes: (tmp_path / "mpps.sqlite").rename(tmp_path / "moved"))


@on_postgresql
def test_a_lost_database(serving, postgresql):
    cluster = postgresql
    with serving() as served, Modality(served.port) as modality:
        assert modality.create(UID, WHOLE).Status == 0x0000
        cluster.stop()
        try:
            assert modality.set(UID, LAST).Status == 0x0213
        finally:
            cluster.start()
        assert modality.set(UID, LAST).Status == 0x0000
        cluster.stop()
        cluster.start()
        assert modality.create(f"{ROOT}.2", WHOLE).Status == 0x0000  # nobody saw it
        served.store.close()
        assert len(list(served.store.find(status="COMPLETED"))) == 1


@pytest.mark.parametrize(
    "url", [pytest.param("postgresql", marks=pytest.mark.peers)], indirect=True
)
def test_a_database_that_only_reads(serving, postgresql):
    """As one that has been a primary before a failover; then the connection goes to the new one."""

    def begin(what):
        others = "FROM pg_stat_activity WHERE pid != pg_backend_pid() AND datname IS NOT NULL"
        postgresql.sql(
            "SET TRANSACTION READ WRITE;"
            f"ALTER DATABASE postgres {what};"
            f"SELECT pg_terminate_backend(pid) {others}"
        )

    with serving() as served, Modality(served.port) as modality:
        assert modality.create(UID, WHOLE).Status == 0x0000
        begin("SET default_transaction_read_only = on")
        try:
            assert modality.set(UID, LAST).Status == 0x0213
        finally:
            begin("RESET default_transaction_read_only")
        assert modality.set(UID, LAST).Status == 0x0000


# -- The schema ------------------------------------------------------------------------------------


def test_an_older_schema_is_migrated(opened, mpps, report, monkeypatch):
    assert mpps("writer").Writer(opened()).store([report("N-CREATE", 1, WHOLE)])[0].status == 0
    now = mpps("store").MIGRATIONS
    monkeypatch.setattr(mpps("store"), "MIGRATIONS", (*now, "CREATE TABLE notes (text TEXT)"))
    store = opened()
    assert [step.uid for step in store.find()] == [UID]
    opened()  # once only
    monkeypatch.setattr(mpps("store"), "MIGRATIONS", now)
    with pytest.raises(mpps("store").StoreError) as caught:
        opened()
    assert str(caught.value).endswith(
        ": the schema has version 3, and this nset knows those up to 2: install a newer nset"
    )


def test_two_processes_make_the_schema(opened):
    start, failed = threading.Barrier(4), []

    def make():
        start.wait()
        try:
            opened()
        except Exception as exc:
            failed.append(exc)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("sqlite:///missing.sqlite", "unable to open database file"),
        ("sqlite:///other.sqlite", "no such table: nset_mpps"),
        ("sqlite:///text.sqlite", "file is not a database"),
        ("mysql://host/x", "a store is sqlite:///FILE or postgresql://..."),
    ],
)
def test_what_is_no_store(nset, mpps, tmp_path, monkeypatch, url, text):
    monkeypatch.chdir(tmp_path)
    sqlite3.connect("other.sqlite").execute("CREATE TABLE steps (uid TEXT)").connection.close()
    (tmp_path / "text.sqlite").write_text("text" * 1000)
    with pytest.raises(mpps("store").StoreError) as caught:
        mpps("stores").open_store(url)
    assert str(caught.value) == f"{url}: {text}"
    assert not (tmp_path / "missing.sqlite").exists()


@pytest.mark.parametrize("create", [False, True])
def test_another_programs_file_stays_as_it_is(nset, mpps, tmp_path, create):
    file = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE patients (name TEXT)")
    before = file.read_bytes()
    with pytest.raises(mpps("store").StoreError, match="no such table: nset_mpps"):
        mpps("stores").open_store(f"sqlite:///{file}", create=create)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "url", [pytest.param("postgresql", marks=pytest.mark.peers)], indirect=True
)
@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("CREATE TABLE {}.steps (uid TEXT)", 'relation "steps" already exists'),
        ("CREATE TABLE {}.nset_mpps (version TEXT)", None),
        ("DROP SCHEMA {}", "no schema has been selected to create in"),
        ("ALTER SCHEMA {} RENAME TO {}_", "no schema has been selected to create in"),
    ],
)
def test_what_can_be_made_no_store(nset, mpps, postgresql, url, statement, text):
    schema = url.rpartition("%3D")[2]
    postgresql.sql(statement.format(schema, schema))
    if text is None:
        postgresql.sql(f"INSERT INTO {schema}.nset_mpps VALUES ('x')")
    with pytest.raises(mpps("store").StoreError, match=text):
        mpps("stores").open_store(url, create=True)


@pytest.mark.peers
def test_no_password_is_shown(nset, mpps):
    with pytest.raises(mpps("store").StoreError) as caught:
        mpps("stores").open_store("postgresql://user:secret@127.0.0.1:1/database")
    assert str(caught.value).startswith("postgresql://user:***@127.0.0.1:1/database: ")
    assert "secret" not in str(caught.value)


@pytest.fixture(autouse=True)
def at_info(caplog):
    caplog.set_level(logging.INFO, "nset.mpps")
