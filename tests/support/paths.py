"""Where things lie in the repository."""

from pathlib import Path

SUPPORT = Path(__file__).parent
TESTS = SUPPORT.parent
DATA = TESTS / "data"
REPOSITORY = TESTS.parent
DOCS = REPOSITORY / "docs"
