"""NSET_IMPLEMENTATION selects the implementation, and imports point down."""

import ast
import functools
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
from importlib.machinery import PathFinder

import pytest
from implementations import IMPLEMENTATIONS
from paths import REPOSITORY

# Not imported: a copy beside those of the fixture `nset` would share the extension with them.
INSTALLED = pathlib.Path(importlib.util.find_spec("nset").origin).parent
SOURCE = REPOSITORY / "src" / "nset"


# -- The switch -----------------------------------------------------------------------------------


@functools.cache
def implementation(choice, path=None):
    """What a new process prints: the implementation in use, or its last line of error.

    That is asked once: the package at `path` must not change between two calls.
    """
    env = {name: value for name, value in os.environ.items() if name != "NSET_IMPLEMENTATION"}
    if choice is not None:
        env["NSET_IMPLEMENTATION"] = choice
    if path is not None:
        env["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, "-c", "import nset; print(nset.IMPLEMENTATION, nset.N_SET())"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stdout or done.stderr.splitlines()[-1]).strip()


@pytest.fixture
def copied(tmp_path):
    """A directory with the package in it, without its extension."""
    ignored = shutil.ignore_patterns("_core.*", "__pycache__")
    shutil.copytree(INSTALLED, tmp_path / "nset", ignore=ignored)
    return tmp_path


@pytest.mark.parametrize("choice", IMPLEMENTATIONS)
def test_what_is_chosen_is_live(choice):
    assert implementation(choice) == f"{choice} N_SET()"


@pytest.mark.parametrize("choice", [None, "auto"])
def test_auto_takes_the_extension_where_it_is_there(choice, copied):
    built = PathFinder.find_spec("_core", [str(INSTALLED)]) is not None
    assert built or "compiled" not in IMPLEMENTATIONS
    assert implementation(choice) == f"{'compiled' if built else 'python'} N_SET()"
    assert implementation(choice, copied) == "python N_SET()"


def test_without_the_extension(copied):
    assert implementation("python", copied) == "python N_SET()"
    assert implementation("compiled", copied) == (
        "ImportError: NSET_IMPLEMENTATION=compiled, but nset was installed without its extension"
        " _core"
    )


@pytest.mark.parametrize(
    "error", ["ImportError: undefined symbol: x", "ModuleNotFoundError: No module named 'other'"]
)
def test_an_extension_that_does_not_load_is_no_missing_one(error, copied):
    name, text = error.split(": ", 1)
    (copied / "nset" / "_core.py").write_text(f'raise {name}("{text}", name="other")\n')
    for choice in ("auto", "compiled"):
        assert implementation(choice, copied) == error
    assert implementation("python", copied) == "python N_SET()"


@pytest.mark.parametrize("choice", ["", "Compiled", "cython", "python ", "1"])
def test_any_other_value_raises(choice):
    assert implementation(choice) == (
        f"ImportError: NSET_IMPLEMENTATION must be one of auto, compiled, python, not {choice!r}"
    )


# -- Interpreters of one process ------------------------------------------------------------------

IN_ANOTHER_INTERPRETER = """if True:
    import sys
    import nset
    print("main:", nset.IMPLEMENTATION, flush=True)
    script = '''
    try:
        import nset
        print("other:", nset.IMPLEMENTATION, nset.N_SET(), flush=True)
    except ImportError as error:
        print("other:", error, flush=True)
    '''
    script = "if True:" + script
    if sys.version_info >= (3, 13):
        import _interpreters
        _interpreters.run_string(_interpreters.create("{kind}"), script)
    else:
        import _xxsubinterpreters
        isolated = {{"isolated": "{kind}" == "isolated"}} if sys.version_info >= (3, 12) else {{}}
        _xxsubinterpreters.run_string(_xxsubinterpreters.create(**isolated), script)
    """


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
@pytest.mark.parametrize("choice", ["auto", *IMPLEMENTATIONS])
def test_another_interpreter_of_the_process(choice, kind):
    """The core serves the one that has loaded it."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IN_ANOTHER_INTERPRETER.format(kind=kind)],
        env=os.environ | {"NSET_IMPLEMENTATION": choice},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    main, other = done.stdout.splitlines()
    assert main == f"main: {implementation(choice).split()[0]}"
    if choice == "compiled":
        texts = "Interpreter change detected .*", ".* does not support loading in subinterpreters"
        assert re.fullmatch(f"other: ({'|'.join(texts)})", other)
    else:
        assert other == "other: python N_SET()"


# -- The arrows -----------------------------------------------------------------------------------

# By package, from the top; each module may import what stands below it, for its types, too.
# "" is the package's own __init__.py.
LAYERS = {
    "nset": [
        {"__main__"},
        {"cli"},
        {"demo", "dump", "mpps"},
        {"scp"},
        {"pynetdicom"},
        {""},
        {"wire"},
        {"primitive", "status", "dataset", "_status_error"},
        {"_implementation"},
        {"_core", "_pure"},
        {"_pdu"},
        {"_command_set"},
        {"_errors", "_uid", "logs"},
        {"config"},
        {"_rules", "_dict"},
    ],
    "nset.demo": [{"show"}, {"scp", "scu", "clock"}, {""}],
    "nset.mpps": [
        {"cli"},
        {"server"},
        {"writer", "stores"},
        {"sqlite", "postgresql", "notify"},
        {"store"},
        {"steps"},
        {"merging"},
        {"rules", "addresses", "printing", "reporting"},
        {""},
    ],
    "nset.dump": [
        {"_show"},
        {""},
        {"_read", "_load"},
        {"_data_set", "_text"},
        {"_packets", "_result"},
        {"_associate", "_hex_dump", "_forms"},
        {"_capture"},
        {"_limits", "_values"},
    ],
    "nset.pynetdicom": [
        {""},
        {"_patches"},
        {"_reactors"},
        {"_exchange", "_negotiation", "_answers"},
        {"_provider", "_socket"},
        {"_messages", "_data_sets"},
    ],
    "nset.dataset": [{""}, {"_pieces"}, {"_core"}, {"_cursor"}, {"_agreement", "_bounds", "_vr"}],
    "nset.scp": [
        {""},
        {"_processes"},
        {"_run"},
        {"_server"},
        {"_listener"},
        {"_association"},
        {"_timers"},
        {"_on_demand"},
        {"_threadless", "_reports", "_dimse", "_eager_tasks", "_tls", "_sockets", "_proxy"},
        {"_negotiation", "_upper_layer", "_flow_control", "_log"},
        {"_connection", "_checkpoint", "_dispatch", "_a_associate"},
        {"_ae_settings"},
        {"_handlers", "_data_sets", "_details"},
        {"_threads", "_shared", "metrics", "systemd"},
        {"_queues", "_counters", "_limits", "_memory"},
        {"_measurements"},
        {"_implementation"},
        {"_protocol", "_pure_protocol"},
        {"_core", "_pure"},
        {"_pure_reader"},
        {"_pure_requests"},
        {"_rules", "_services"},
    ],
}
MAY_IMPORT_PYNETDICOM = {"pynetdicom", "scp", "demo", "mpps"}

FILES = sorted(SOURCE.rglob("*.py"))


def full_name(path):
    """The file's module, as in ``nset.scp._server``; a package is its __init__.py."""
    return ".".join(["nset", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(
        ".__init__"
    )


MODULES = {full_name(path) for path in FILES} | {
    full_name(path.with_suffix(".py"))
    for suffix in ("pyx", "pxd")
    for path in SOURCE.rglob(f"*.{suffix}")
}


def run_time_nodes(tree):
    """The nodes that are run."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        yield node
        yield from run_time_nodes(node)


def imported(path, nodes=ast.walk):
    """Full names of what the file imports, wherever in it."""
    for node in nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield ast.unparse(node.args[0]).strip("f'")


def our_modules(names):
    """The modules of nset that the names are, or are taken from."""
    for name in names:
        if name.split(".")[0] == "nset":
            yield name if name in MODULES else name.rpartition(".")[0]


def layer(package, names):
    """How far down in the package the module stands that has these names."""
    name = names[0] if names else ""
    return next(index for index, modules in enumerate(LAYERS[package]) if name in modules)


def points_down(here, there):
    """Whether the one module may import the other: by their layers where their names part."""
    ours, theirs, package = here.split("."), there.split("."), []
    while ours and theirs and ours[0] == theirs[0]:
        package.append(ours.pop(0))
        theirs.pop(0)
    return layer(".".join(package), ours) < layer(".".join(package), theirs)


def test_each_module_has_a_layer():
    for module in MODULES - {"nset"}:
        package, _, name = module.rpartition(".")
        assert layer(package, [name]) >= 0
        assert module not in LAYERS or layer(module, []) >= 0


def test_files_that_grow_too_long():
    """One file has one job."""
    most = {".py": 700, ".pyx": 1200, ".pxd": 700}
    for path in (path for suffix in most for path in SOURCE.rglob(f"*{suffix}")):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= most[path.suffix], path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path):
    here = full_name(path)
    for module in our_modules(imported(path)):
        assert points_down(here, module), f"{here} imports {module}"


@pytest.mark.parametrize(
    ("core", "needs"),
    [
        ("nset._core", {"nset._rules", "nset._uid", "nset.config"}),
        (
            "nset.dataset._core",
            {f"nset.dataset.{name}" for name in ("_agreement", "_bounds", "_cursor", "_vr")},
        ),
        ("nset.scp._core", {"nset._core", "nset._pdu", "nset.scp._rules"}),
        ("nset.scp._protocol", {"nset.scp._core", "nset._pdu", "nset.scp._rules"}),
    ],
)
def test_imports_of_the_cores_point_down(core, needs):
    path = (SOURCE.parent / core.replace(".", "/")).with_suffix(".pyx")
    text = path.read_text(encoding="utf-8")
    lines = re.findall(r"^from (nset[.\w]*) c?import (\([^)]+\)|.+)$", text, re.MULTILINE)
    names = [f"{package}.{name}" for package, found in lines for name in re.findall(r"\w+", found)]
    modules = set(our_modules(names))
    assert modules >= needs
    assert all(points_down(core, module) for module in modules)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_some_may_import_pynetdicom(path):
    names = [name for name in imported(path, run_time_nodes) if name.split(".")[0] == "pynetdicom"]
    assert names == [] or path.relative_to(SOURCE).parts[0] in MAY_IMPORT_PYNETDICOM
