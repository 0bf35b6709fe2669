"""The command line and the demo: what they print, and that they fail where they should."""

import importlib
import subprocess

import pytest
from paths import REPOSITORY
from strict_python import STRICT_PYTHON


def run(*arguments):
    command = [*STRICT_PYTHON, *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)


def without(package, *arguments):
    """Run ``python -m nset`` where a package is not installed."""
    program = f"""if True:
        import runpy, sys

        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == {package!r}:
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

        sys.meta_path.insert(0, Missing())
        sys.argv = ["nset", *{arguments!r}]
        runpy.run_module("nset", run_name="__main__")
    """
    return run("-c", program)


def test_version_names_the_twin(nset):
    ran = run("-m", "nset", "--version")
    assert ran.stdout == f"nset {nset.__version__} ({nset.IMPLEMENTATION})\n"


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("click", "python -m nset needs click: pip install 'nset[cli]'"),
        ("rich", "The demo needs rich: pip install 'nset[cli,pynetdicom]'"),
        ("pynetdicom", "The demo needs pynetdicom: pip install 'nset[cli,pynetdicom]'"),
    ],
)
def test_what_is_missing_is_named(package, words):
    """Before either implementation matters."""
    ran = without(package, "demo")
    assert ran.returncode == 1
    assert ran.stderr == f"{words}\n"


# Its measurements are short: what matters here is not how long something takes.
DEMO = """if True:
    import runpy, sys
    from nset.demo import clock
    clock.SECONDS, clock.REPEATS = 0.01, 1
    sys.argv = ["nset", "demo"]
    runpy.run_module("nset", run_name="__main__")
"""


def test_demo(nset):
    ran = run("-c", DEMO)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    core = {"compiled": "nset._core", "python": "nset._pure"}[nset.IMPLEMENTATION]
    assert f"an nset.N_SET on {core}" in ran.stdout
    assert ("nset uses its C extension" in ran.stdout) == (nset.IMPLEMENTATION == "compiled")
    assert "Error ID 0xA710: Performed Procedure Step Object may no longer be up" in ran.stdout
    assert "Status must be between 0 and 65535, inclusive" in ran.stdout
    for line in ("nset, pure Python", "nset, C extension"):
        assert f"{line} " in ran.stdout


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((0x0112, None), "the answers should have been"),
        ((0x0000, None), "the answers should have been"),
        (None, "the modality says: the server did not answer"),
    ],
)
def test_demo_fails_where_the_server_does(nset, monkeypatch, answer, reason):
    show = importlib.import_module("nset.demo.show")

    def update(self, event):
        if answer is None:
            event.assoc.abort()
        return answer

    monkeypatch.setattr(show.Steps, "update", update)
    with pytest.raises(SystemExit, match=reason):
        show.run()


def test_demo_fails_where_the_step_is_not_kept(nset, monkeypatch):
    show = importlib.import_module("nset.demo.show")
    keep = show.Steps.update

    def update(self, event):
        status, _ = keep(self, event)
        for step in self.stored.values():
            step.PerformedProcedureStepStatus = "IN PROGRESS"
        return (0x0110 if len(self.received) == 3 else status), None

    monkeypatch.setattr(show.Steps, "update", update)
    with pytest.raises(SystemExit, match="the stored step is IN PROGRESS"):
        show.run()


def test_a_statement_that_does_not_do_its_work_is_not_timed(nset, monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    timing = importlib.import_module("timing")
    operation = timing.Operation("set", "primitive.MessageID = 7", "primitive.MessageID == 8")
    with pytest.raises(AssertionError, match="set by python: not primitive"):
        timing.measure(operation, {"python": nset.N_SET})
