"""Takes a picture of each page of the site, wide and narrow, light and dark.

Usage: python docs/screenshots.py [FOLDER] [PAGE ...]

After `make docs`, with playwright (`pip install playwright`) and its Chromium or Debian's. The
pictures are in build/screenshots, or FOLDER. Exits with 1 if a page is wider than the window.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SITE = Path(__file__).parents[1] / "build/docs"
WIDTHS = {"wide": 1280, "narrow": 390}
THEMES = ("light", "dark")
SKIPPED = ("_", "genindex", "search", "py-modindex")


def main(folder: Path, names: list[str]) -> int:
    """Return how many pages are too wide."""
    pages = {
        page.relative_to(SITE).with_suffix("").as_posix(): page
        for page in sorted(SITE.rglob("*.html"))
    }
    for name in list(pages):
        if name.startswith(SKIPPED) or (names and name not in names):
            del pages[name]
    too_wide = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        for kind, width in WIDTHS.items():
            for theme in THEMES:
                context = browser.new_context(
                    viewport={"width": width, "height": 800}, color_scheme=theme
                )
                window = context.new_page()
                for name, page in pages.items():
                    window.goto(page.as_uri())
                    path = folder / f"{name.replace('/', '-')}-{kind}-{theme}.png"
                    window.screenshot(path=path, full_page=name != "index")
                    needs = window.evaluate("document.documentElement.scrollWidth")
                    if needs > width:
                        too_wide += 1
                        print(f"{name}, {theme}: {needs} pixels, the window has {width}")
        browser.close()
    print(f"{len(pages)} pages in {folder}")
    return too_wide


if __name__ == "__main__":
    folder = Path(sys.argv[1] if sys.argv[1:] else SITE.parent / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    sys.exit(main(folder, sys.argv[2:]) > 0)
