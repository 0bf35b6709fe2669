"""What is fuzzed to begin with: the corpus, and what has failed.

The corpus is one input a line, in hex, shorter ones first. What has failed is in found.txt: each
line has the target and the input.
"""

from pathlib import Path

HERE = Path(__file__).parent
TARGETS = ["command_set", "pdus", "data_set", "association"]

_MAX_CORPUS_BYTES = 200_000  # of each, in hex
_FOUND = HERE / "found.txt"


def corpus(target: str) -> list[bytes]:
    path = HERE / "corpus" / f"{target}.txt"
    return [bytes.fromhex(line) for line in path.read_text().split()] if path.exists() else []


def set_corpus(target: str, data: list[bytes]) -> int:
    """Write it, as many of them as there is room for; return how many."""
    lines, size = [], 0
    for one in sorted(data, key=lambda one: (len(one), one)):
        size += 2 * len(one) + 1
        if size > _MAX_CORPUS_BYTES:
            break
        lines.append(one.hex() + "\n")
    (HERE / "corpus" / f"{target}.txt").write_text("".join(lines))
    return len(lines)


def found(target: str) -> list[bytes]:
    lines = [line.split() for line in _FOUND.read_text().splitlines() if line[:1] != "#"]
    return [bytes.fromhex(data) for name, data in lines if name == target]


def add_found(target: str, data: bytes) -> None:
    if data not in found(target):
        with _FOUND.open("a") as file:
            file.write(f"{target} {data.hex()}\n")
