"""Fuzzes nset with atheris: inputs that are changed until they reach more of the Python code.

Usage: python tests/fuzz/fuzz.py [--seconds 120] [--seed N] [--keep | --replay] [TARGET ...]

Both implementations get each input. One that fails is printed and added to found.txt, which
test_corpus.py replays. What reaches more than the corpus stays in build/fuzz; --keep makes corpus/
anew of both, at most as much as there is room for. --replay only goes through all of them, without
atheris: so `make fuzz` has it under the sanitizers, beside which atheris sees nothing.
"""

import argparse
import logging
import os
import re
import shlex
import subprocess
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha1
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(HERE)]

import inputs  # noqa: E402

BUILT = ROOT / "build" / "fuzz"
MAX_BYTES = 6000  # of an input: above the limits of the server in fuzzed_associations.py

# A fault of its own that takes so long, or so much, has to be one on a loaded machine, too.
LIMITS = ["-timeout=300", "-rss_limit_mb=4096", f"-max_len={MAX_BYTES}"]


def be_quiet() -> None:
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")


def run(target: str, arguments: list[str]) -> None:
    """Fuzz in this process, which then ends."""
    import atheris

    be_quiet()
    with atheris.instrument_imports(include=["nset"]):
        import fuzz_targets

        function = fuzz_targets.TARGETS[target]
        function(bytes(8))  # with what it imports itself
    # To merge, libFuzzer starts itself again, by way of a shell.
    itself = shlex.join([sys.executable, __file__, "--run", target])
    atheris.Setup([itself, *LIMITS, *arguments], function)
    atheris.Fuzz()


def child(target: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a process with these arguments for libFuzzer."""
    command = [sys.executable, __file__, "--run", target, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")


def unpack(target: str, *more: bytes) -> Path:
    """Write the corpus to a folder, beside what was found before; give the folder."""
    folder = BUILT / target
    folder.mkdir(parents=True, exist_ok=True)
    for data in (*inputs.corpus(target), *more):
        (folder / sha1(data).hexdigest()).write_bytes(data)
    return folder


def fuzz(target: str, seconds: int, seed: int) -> bool:
    """Fuzz a target so long; print how far that went, and return whether it failed."""
    folder = unpack(target)
    with tempfile.TemporaryDirectory() as faults:
        limits = f"-max_total_time={seconds}", f"-seed={seed}"
        done = child(target, *limits, f"-artifact_prefix={faults}/", str(folder))
        lines = done.stderr.splitlines()
        found = [path.read_bytes() for path in Path(faults).iterdir()]
    if done.returncode == 0:
        last = next((line for line in reversed(lines) if re.match(r"#\d", line)), "")
        print(f"{target}: {last}", flush=True)
        return False
    print(
        f"{target} FAILED",
        done.stdout,
        *[line for line in lines if line[:1] != "#" and "Instrumenting" not in line],
        sep="\n",
    )
    for data in found:
        print(f"{target} {data.hex()}", flush=True)
        inputs.add_found(target, data)
    return True


def keep(target: str) -> None:
    """Make the corpus anew, of the fewest inputs that reach all that is reached."""
    folder = BUILT / target
    with tempfile.TemporaryDirectory() as least:
        done = child(target, "-merge=1", least, str(folder))
        if done.returncode != 0:
            sys.exit(done.stderr)
        number = inputs.set_corpus(target, [path.read_bytes() for path in Path(least).iterdir()])
    print(f"{target}: the corpus has {number} inputs", flush=True)


def replay(targets: list[str]) -> None:
    """Go through all that there is, in this process."""
    import fuzz_targets
    from fuzzed_associations import close_servers

    be_quiet()
    for target in targets:
        known = [*inputs.corpus(target), *inputs.found(target)]
        known += [path.read_bytes() for path in sorted(unpack(target).iterdir())]
        for data in known:
            try:
                fuzz_targets.TARGETS[target](data)
            except BaseException:
                print(f"{target} {data.hex()}", flush=True)
                raise
        print(f"{target}: {len(known)} inputs", flush=True)
    close_servers()


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        run(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=120, help="that all targets take together")
    parser.add_argument("--seed", type=int, default=0, help="for the same inputs; 0: others")
    parser.add_argument("--keep", action="store_true", help="make the corpus anew afterwards")
    parser.add_argument("--replay", action="store_true", help="what there is, without atheris")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(inputs.TARGETS))
    options = parser.parse_args()
    targets = options.targets or inputs.TARGETS
    if options.replay:
        replay(targets)
        return
    seconds = max(options.seconds // len(targets), 1)
    if options.keep:
        from seeds import SEEDS

        for target in targets:
            unpack(target, *SEEDS[target]())
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 4)) as pool:
        failed = list(pool.map(lambda target: fuzz(target, seconds, options.seed), targets))
        if options.keep and not any(failed):
            list(pool.map(keep, targets))
    sys.exit(any(failed))


if __name__ == "__main__":
    main()
