"""The implementation of `nset.scp`: the one that ``nset.IMPLEMENTATION`` names, so never a mix."""

from typing import TYPE_CHECKING

from nset._implementation import IMPLEMENTATION

if TYPE_CHECKING or IMPLEMENTATION == "python":
    import nset.scp._pure as _chosen
else:
    import nset.scp._core as _chosen

PduReader = _chosen.PduReader
FastPath = _chosen.FastPath
SetEventBase = _chosen.SetEventBase
encode_response = _chosen.encode_response
step = _chosen.step
