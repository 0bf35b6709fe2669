"""The implementation of `nset.scp`: the one that ``nset.IMPLEMENTATION`` names, so never a mix."""

from typing import TYPE_CHECKING

from nset._implementation import IMPLEMENTATION

if TYPE_CHECKING or IMPLEMENTATION == "python":
    from nset.scp._pure import FastPath, SetEventBase, step
else:
    from nset.scp._core import FastPath, SetEventBase, step

__all__ = ["FastPath", "SetEventBase", "step"]
