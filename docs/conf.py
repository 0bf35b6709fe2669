"""How Sphinx makes the site: `make docs`."""

import os
import re
from pathlib import Path

# Its properties have annotations; the docstrings are the C extension's.
os.environ["NSET_IMPLEMENTATION"] = "python"

REPOSITORY = Path(__file__).parent.parent

project = "nset"
author = copyright = "the nset authors"
release = re.search(
    r'^__version__ = "(.*)"', (REPOSITORY / "src/nset/__init__.py").read_text(), re.MULTILINE
)[1]

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

pygments_style = "friendly"
html_theme = "furo"
html_title = "nset"
html_static_path = ["_static"]
html_css_files = ["nset.css"]
html_copy_source = False


def setup(app):
    app.connect("autodoc-skip-member", is_skipped)
    app.connect("autodoc-process-docstring", leave_out_internals)


def is_skipped(app, what, name, member, skip, options):
    """Return whether it is a field of a named tuple, which its class describes."""
    return True if (member.__doc__ or "").startswith("Alias for field number") else None


def leave_out_internals(app, what, name, obj, options, lines):
    """Remove what is for readers of the source: a server's parts, and which thread calls what."""
    if name == "nset.scp.Server":
        del lines[lines.index(":Attributes:") :]
        rules = [number for number, line in enumerate(lines) if line.startswith("=====")]
        del lines[rules[0] : rules[-1] + 1]


numpydoc_show_class_members = False
autodoc_preserve_defaults = True  # the source has names for numbers
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc's sections have the types

# A reference to a name of nset has to be found. Those to other projects are text: there are no
# inventories, so that the site is built without a network.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!nset).*")]
default_role = "py:obj"
