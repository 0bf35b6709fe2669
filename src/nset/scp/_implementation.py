"""The implementation of `nset.scp`: the one that ``nset.IMPLEMENTATION`` names, so never a mix."""

from typing import TYPE_CHECKING

from nset._implementation import IMPLEMENTATION

if TYPE_CHECKING or IMPLEMENTATION == "python":
    from nset.scp._pure import FastPath, ServiceEventBase, encode_response, step
else:
    from nset.scp._core import FastPath, ServiceEventBase, encode_response, step

__all__ = ["FastPath", "ServiceEventBase", "encode_response", "step"]
