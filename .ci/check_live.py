"""Fails unless the installed nset uses its C extensions, and importing it keeps the GIL off."""

import sys
import sysconfig

import nset
import nset.scp._implementation

print(f"nset {nset.__version__} in {nset.__path__[0]}: {nset.IMPLEMENTATION}")
if nset.IMPLEMENTATION != "compiled":
    sys.exit("the compiled implementation is not live")
if nset.scp._implementation.AssociationProtocol.__module__ != "nset.scp._protocol":
    sys.exit("nset.scp is not on its core")
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    enabled = sys._is_gil_enabled()
    print(f"free-threaded Python {sys.version.split()[0]}: GIL {'on' if enabled else 'off'}")
    if enabled:
        sys.exit("importing nset has turned the GIL on")
