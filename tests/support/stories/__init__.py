"""Stories: each does something with an N_SET, of either package, and tells what comes of that."""

from stories import attributes, copies, introspection, patching, subclasses  # noqa: F401
from stories.registry import STORIES as STORIES
