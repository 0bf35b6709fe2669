"""Measures a pynetdicom server with nset and without, in alternating rounds.

Usage: python benchmarks/servers.py [--rounds N] [--seconds S]
"""

import argparse
from statistics import median

from nset.demo import load, timing

ASSOCIATIONS = (1, 8, 32)


def main() -> None:
    """Print the medians, the extremes and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each, in turns")
    parser.add_argument("--seconds", type=float, default=3.0, help="that a round lasts")
    options = parser.parse_args()
    print(timing.software())
    for associations in ASSOCIATIONS:
        stock, ours = [], []
        for _ in range(options.rounds):
            for with_nset, taken in ((False, stock), (True, ours)):
                with load.server(with_nset=with_nset) as server:
                    taken.append(load.cpu_per_request(server, associations, options.seconds))
        _report(f"CPU per N-SET at {associations} associations", "us", stock, ours)
    stock, ours = [], []
    for _ in range(options.rounds):
        for with_nset, taken in ((False, stock), (True, ours)):
            with load.server(with_nset=with_nset) as server:
                taken.append(load.round_trip(server, with_nset=with_nset))
    _report("round trip of send_n_set", "ms", stock, ours)


def _report(name: str, unit: str, stock: list[float], ours: list[float]) -> None:
    ratio = median(before / after for before, after in zip(stock, ours, strict=True))
    print(
        f"{name}: pynetdicom {_spread(stock)} {unit}, with nset {_spread(ours)} {unit}, "
        f"{ratio:.1f} times less",
        flush=True,
    )


def _spread(values: list[float]) -> str:
    return f"{median(values):.3g} [{min(values):.3g} to {max(values):.3g}]"


if __name__ == "__main__":
    main()
