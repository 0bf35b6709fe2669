"""The code blocks of README.md and of docs/."""

import re
from pathlib import Path
from typing import NamedTuple

from paths import DOCS, REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>.*?) -->\n\n)?^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A code block of a page."""

    language: str
    text: str
    reason: str | None
    """Why it is not run."""


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """Those of a language, or all, in their order."""
    found = (Block(**match.groupdict()) for match in _BLOCK.finditer(page.read_text("utf-8")))
    code = (block for block in found if not block.language.startswith("{"))  # else a directive
    return [block for block in code if language in (None, block.language)]


def name(page: Path | str) -> str:
    """Of the page, for the name of a test."""
    if isinstance(page, str):
        return page
    return page.relative_to(REPOSITORY).with_suffix("").as_posix()
