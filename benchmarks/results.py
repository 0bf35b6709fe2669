"""What was measured, in results.json: the tables of README and docs/ are made of it.

Usage: python benchmarks/results.py

That writes each table into the pages that have its two markers. A program that measures records
its tables here when it is given such pages.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FILE = ROOT / "benchmarks" / "results.json"


def pages() -> list[Path]:
    """Return the pages that may have tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> dict[str, str]:
    """Return what a page has between markers, by their names."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"<!-- ([\w-]+): begin -->(.*?)<!-- \1: end -->", text, re.DOTALL)
    return {marker: block.strip() for marker, block in found}


def parsed(block: str) -> dict[str, Any]:
    """Return tables, with `head` and `rows`, and paragraphs; with the versions and the machine."""
    parts = [_parsed(part) for part in block.split("\n\n")]
    line = re.search(r"nset \d.*\non .*\.$", block)
    versions, _, machine = line[0].rstrip(".").partition("\non ") if line else ("", "", "")
    return {
        "versions": dict(one.rsplit(" ", 1) for one in versions.split(", ") if one),
        "machine": machine,
        "parts": parts,
    }


def _parsed(part: str) -> Any:
    if not part.startswith("|"):
        return part
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in part.split("\n"))
    return {"head": head, "rows": rows}


def load() -> dict[str, Any]:
    """Return all results, by their markers."""
    results: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return results


def record(marker: str, block: str) -> None:
    """Put a block in place of the one that was measured before."""
    results = {**load(), marker: parsed(block)}
    text = json.dumps(dict(sorted(results.items())), indent=1, ensure_ascii=False)
    FILE.write_text(text + "\n", encoding="utf-8")


def rendered(result: dict[str, Any]) -> str:
    """Return a result as the pages have it."""
    from tables import markdown

    return "\n\n".join(
        part if isinstance(part, str) else markdown(part["head"], part["rows"])
        for part in result["parts"]
    )


def write(files: Iterable[Path]) -> None:
    """Write the results into the pages that have their markers."""
    results = load()
    for file in files:
        text = file.read_text(encoding="utf-8")
        for marker in blocks(file):
            begin, end = f"<!-- {marker}: begin -->", f"<!-- {marker}: end -->"
            before, rest = text.split(begin)
            text = f"{before}{begin}\n\n{rendered(results[marker])}\n\n{end}{rest.split(end)[1]}"
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(page for page in pages() if blocks(page))
