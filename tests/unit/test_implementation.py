"""NSET_IMPLEMENTATION picks the twin, and imports point down."""

import ast
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


def implementation(choice, path=None):
    """What a new process prints: the twin that is live, or its last line of error."""
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
@pytest.mark.parametrize("choice", ["auto", "compiled"])
def test_an_extension_that_does_not_load_is_no_missing_one(choice, error, copied):
    name, text = error.split(": ", 1)
    (copied / "nset" / "_core.py").write_text(f'raise {name}("{text}", name="other")\n')
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

# From the top; each may import what stands below it. "nset" is the face, __init__.py.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"demo", "dump"},
    {"scp"},
    {"pynetdicom"},
    {"nset"},
    {"wire"},
    {"primitive", "status"},
    {"_implementation"},
    {"_core", "_pure"},
    {"_pdu"},
    {"_command_set"},
    {"_uid"},
    {"config"},
    {"_rules"},
]
MAY_IMPORT_PYNETDICOM = {"pynetdicom", "scp", "demo"}

FILES = sorted(SOURCE.rglob("*.py"))


def module_of(path):
    """The module or subpackage that the file belongs to."""
    name = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return "nset" if name == "__init__" else name


def without_type_checking(tree):
    """The nodes that are run."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        yield node
        yield from without_type_checking(node)


def imported(path):
    """Full names of what the file imports, wherever in it."""
    for node in without_type_checking(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield ast.unparse(node.args[0]).strip("f'")


def our_modules(names):
    """The modules of nset among the names; a name that is none is taken from the face."""
    known = {module_of(path) for path in FILES} | {"_core"}
    for name in names:
        package, _, rest = name.partition(".")
        if package == "nset":
            module = rest.partition(".")[0]
            yield module if module in known else "nset"


def layer(module):
    """How far down it stands."""
    return next(index for index, modules in enumerate(LAYERS) if module in modules)


def test_each_module_has_a_layer():
    assert {module_of(path) for path in FILES} <= set().union(*LAYERS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path):
    here = module_of(path)
    for module in our_modules(imported(path)):
        assert module == here or layer(here) < layer(module), f"{here} imports {module}"


@pytest.mark.parametrize(
    ("core", "needs"),
    [("_core", {"_rules", "_uid", "config"}), ("scp/_core", {"_core", "_pdu", "scp"})],
)
def test_imports_of_the_cores_point_down(core, needs):
    text = (SOURCE / f"{core}.pyx").read_text(encoding="utf-8")
    lines = re.findall(r"^from (nset[.\w]*) c?import (.+)$", text, re.MULTILINE)
    names = [f"{package}.{name.strip()}" for package, found in lines for name in found.split(",")]
    here, modules = core.partition("/")[0], set(our_modules(names))
    assert modules >= needs
    assert all(module == here or layer(here) < layer(module) for module in modules - {here})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_some_may_import_pynetdicom(path):
    names = [name for name in imported(path) if name.split(".")[0] == "pynetdicom"]
    assert names == [] or module_of(path) in MAY_IMPORT_PYNETDICOM
