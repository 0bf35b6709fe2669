"""pynetdicom's own tests, as they ship inside its wheel, with nset installed in it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pynetdicom
import pytest
from conftest import IMPLEMENTATIONS

pytestmark = pytest.mark.upstream

HERE = Path(__file__).parent
SITE = Path(pynetdicom.__file__).parent.parent
TIMEOUT = 300

TESTS = [
    "test_dimse_c.py",
    "test_dimse_msg.py",
    "test_dimse_n.py",
    "test_dimse_provider.py",
    "test_events.py",
    "test_logging.py",
    "test_assoc_n.py",
    "test_service_n.py",
    "test_assoc.py::TestGetValidContext::test_ups_push_set",
]
NUMBER_OF_TESTS = 869  # in pynetdicom 3.0.4


class Run:
    """A pytest of its own, at work in the background."""

    def __init__(self, directory: Path, implementation: str, *options: str) -> None:
        self._report = directory / "report.xml"
        self._output = directory / "output.txt"
        ini = directory / "pytest.ini"
        ini.write_text("[pytest]\n")
        environment = os.environ | {
            "NSET_IMPLEMENTATION": implementation,
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            # As a worker of xdist's it looks for free ports; else its ports are 11112 and 11113.
            "PYTEST_XDIST_WORKER": f"nset-{implementation}",
        }
        environment.pop("PYTEST_ADDOPTS", None)
        command = [
            *(sys.executable, "-m", "pytest", "-p", "upstream_plugin", "-p", "no:cacheprovider"),
            *("-c", str(ini), f"--rootdir={SITE}", f"--basetemp={directory / 'tmp'}"),
            *("-o", "junit_family=xunit1", f"--junitxml={self._report}", *options),
        ]
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                command, cwd=directory, env=environment, stdout=output, stderr=subprocess.STDOUT
            )

    def outcomes(self) -> dict[str, str]:
        """Wait for the end; give what became of each test, by its node id."""
        self._process.wait(TIMEOUT)
        assert self._process.returncode in (0, 1), self.output
        outcomes = {}
        for case in ElementTree.parse(self._report).iter("testcase"):
            faults = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
            module = str(SITE / case.attrib["file"])
            classes = case.attrib["classname"].split(".")[3:]
            outcomes["::".join([module, *classes, case.attrib["name"]])] = (*faults, "passed")[0]
        return outcomes

    @property
    def output(self) -> str:
        return self._output.read_text()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """The tests on every twin, side by side: they mostly wait."""
    tests = [str(SITE / "pynetdicom" / "tests" / test) for test in TESTS]
    runs = {name: Run(tmp_path_factory.mktemp(name), name, *tests) for name in IMPLEMENTATIONS}
    yield runs
    for run in runs.values():
        run.stop()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_pynetdicoms_own_tests_pass(
    implementation: str, runs: dict[str, Run], tmp_path: Path
) -> None:
    run = runs[implementation]
    outcomes = run.outcomes()
    others = {test: outcome for test, outcome in outcomes.items() if outcome != "passed"}
    if others:
        # What goes the same way without nset is not nset's doing.
        stock = Run(tmp_path, implementation, "--stock", *others).outcomes()
        assert not [test for test in others if stock[test] != others[test]], run.output
    assert len(outcomes) == NUMBER_OF_TESTS
