"""Compares nset.dataset with pydicom on random data sets and on damaged ones, as many as you like.

Usage: python tests/dataset/fuzz.py [--number 100000] [--seed 1] [--only KIND/NUMBER]

Each of them has a generator of its own, so that one can be repeated alone. Prints those on which
they differ; then the exit status is 1.
"""

import argparse
import sys
import traceback
import warnings
from pathlib import Path
from random import Random

sys.path.append(str(Path(__file__).parents[1] / "support"))

from compared_data_sets import compare
from encoded_data_sets import EXPLICIT, IMPLICIT, damaged, random_data_set

from nset import dataset

KINDS = ("random", "damaged")
_PROGRESS = 10_000


def one(seed: int, kind: str, number: int) -> bool:
    """Return whether they agree on one data set; if not, print it, and why."""
    rng = Random(f"{seed}/{kind}/{number}")
    implicit = rng.random() < 0.5
    syntax = IMPLICIT if implicit else EXPLICIT
    data = random_data_set(rng, implicit=implicit)
    if kind == "damaged":
        data = damaged(rng, data)
        syntax = rng.choice((IMPLICIT, EXPLICIT))
    try:
        compare(dataset, rng, data, syntax)
    except Exception:
        print(f"--seed {seed} --only {kind}/{number}: {syntax} {data.hex()}", flush=True)
        traceback.print_exc(limit=-3)
        return False
    return True


def main() -> None:
    """Compare so many of each kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=100_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="KIND/NUMBER", help="a single one")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.only:
        kind, number = options.only.split("/")
        sys.exit(not one(options.seed, kind, int(number)))
    differ = 0
    for kind in KINDS:
        for number in range(options.number):
            differ += not one(options.seed, kind, number)
            if (number + 1) % _PROGRESS == 0:
                print(f"{kind}: {number + 1}, {differ} differ", flush=True)
    sys.exit(differ > 0)


if __name__ == "__main__":
    main()
