"""The extensions, and the switch that has them built or not.

``NSET_IMPLEMENTATION`` means here what it means at run time: ``compiled`` builds all or fails,
``python`` builds none, ``auto`` (the default) builds all where that works, else none.
Everything else about the package is in pyproject.toml; the compiler directives are in the heads of
the .pyx files.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CHOICES = ("auto", "compiled", "python")
choice = os.environ.get("NSET_IMPLEMENTATION", "auto")
if choice not in CHOICES:
    raise ValueError(f"NSET_IMPLEMENTATION must be one of {', '.join(CHOICES)}, not {choice!r}")

# MSVC optimises, warns and leaves out debug data without being told to.
COMPILE_ARGS = [] if sys.platform == "win32" else ["-O3", "-g0", "-Wall", "-Wextra"]
LINK_ARGS = {"linux": ["-s"], "darwin": ["-Wl,-x"]}.get(sys.platform, [])


class BuildCores(build_ext):
    """Builds all; under ``auto`` a failure leaves the package on its pure-Python fallback."""

    def run(self):
        """Build, and under ``auto`` report a failure instead of raising it."""
        # What an earlier build left would otherwise stand in for the one that fails now.
        self.remove_outputs()
        try:
            super().run()
        except Exception as error:  # no compiler, no Python.h, no linker: each raises its own
            if choice == "compiled":
                raise
            print(
                f"\nWARNING: the extensions could not be built: {type(error).__name__}: {error}\n"
                "nset will run on its pure-Python fallback. NSET_IMPLEMENTATION=compiled makes "
                "this an error, NSET_IMPLEMENTATION=python does not try.\n",
                file=sys.stderr,
            )
            self.remove_outputs()  # of what could be built: all or none
            self.extensions = self.distribution.ext_modules = []
            wheel = self.distribution.get_command_obj("bdist_wheel", create=False)
            if wheel is not None:
                wheel.root_is_pure = True

    def remove_outputs(self):
        """Remove the extensions wherever they are built to."""
        for output in {*self.get_outputs(), *self.get_output_mapping().values()}:
            Path(output).unlink(missing_ok=True)


cores = [
    Extension(
        name,
        sources=[f"src/{name.replace('.', '/')}.pyx"],
        depends=[
            f"src/nset/{declarations}.pxd"
            for declarations in ("_core", "_dict", "dataset/_vr", "scp/_core")
        ],
        extra_compile_args=COMPILE_ARGS,
        extra_link_args=LINK_ARGS,
    )
    for name in ("nset._core", "nset.dataset._core", "nset.scp._core", "nset.scp._protocol")
]
for core in cores:
    core.cython_c_in_temp = True  # the generated C goes to the build directory

setup(
    ext_modules=[] if choice == "python" else cores,
    cmdclass={"build_ext": BuildCores},
)
