"""The implementation of `nset.scp`: the one that ``nset.IMPLEMENTATION`` names, so never a mix."""

from typing import TYPE_CHECKING

from nset._implementation import IMPLEMENTATION

if TYPE_CHECKING or IMPLEMENTATION == "python":
    from nset.scp._pure import ServiceEventBase, encode_response, step
    from nset.scp._pure_protocol import AssociationProtocol, Connections, Deadlines, level_check
else:
    from nset.scp._core import ServiceEventBase, encode_response, step
    from nset.scp._protocol import AssociationProtocol, Connections, Deadlines, level_check

__all__ = [
    "AssociationProtocol",
    "Connections",
    "Deadlines",
    "ServiceEventBase",
    "encode_response",
    "level_check",
    "step",
]
