"""What was measured, in results.json: the tables of README and docs/ are made of it.

Usage: python benchmarks/results.py

That writes each table into the pages that have its two markers.
"""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FILE = ROOT / "benchmarks" / "results.json"


def load() -> dict[str, Any]:
    """Return all results, by their markers: `tables`, `texts`, `versions` and `machine`."""
    results: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return results


def record(marker: str, result: dict[str, Any]) -> None:
    """Put a result in place of the one that was measured before, here and in the pages."""
    results = dict(sorted({**load(), marker: result}.items()))
    text = json.dumps(results, indent=1, ensure_ascii=False)
    FILE.write_text(text + "\n", encoding="utf-8")
    write()


def paragraphs(result: dict[str, Any]) -> list[str]:
    """Return what a page has below the tables."""
    versions = ", ".join(" ".join(one) for one in result["versions"].items())
    *others, last = result["texts"]
    return [*others, f"{last} {versions} on {result['machine']}."]


def pages() -> list[Path]:
    """Return the pages that may have tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> dict[str, str]:
    """Return what a page has between markers, by their names."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"<!-- ([\w-]+): begin -->(.*?)<!-- \1: end -->", text, re.DOTALL)
    return {marker: block.strip() for marker, block in found}


def write() -> None:
    """Write the results into the pages that have their markers."""
    from tables import rendered

    results = load()
    for page in pages():
        text = page.read_text(encoding="utf-8")
        for marker in blocks(page).keys() & results.keys():
            begin, end = f"<!-- {marker}: begin -->", f"<!-- {marker}: end -->"
            before, rest = text.split(begin)
            text = f"{before}{begin}\n\n{rendered(results[marker])}\n\n{end}{rest.split(end)[1]}"
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
