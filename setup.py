"""The extension ``nset._core``, and the switch that says whether to build it.

``NSET_IMPLEMENTATION`` means here what it means at run time: ``compiled`` builds the extension or
fails, ``python`` leaves it out, ``auto`` (the default) builds it where that works. Everything else
about the package is in pyproject.toml; the compiler directives are in the head of _core.pyx.
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


class BuildCore(build_ext):
    """Builds the extension; under ``auto`` a failure leaves the package on its pure twin."""

    def run(self):
        """Build, and under ``auto`` report a failure instead of raising it."""
        # What an earlier build left would otherwise stand in for the one that fails now.
        for output in {*self.get_outputs(), *self.get_output_mapping().values()}:
            Path(output).unlink(missing_ok=True)
        try:
            super().run()
        except Exception as error:  # no compiler, no Python.h, no linker: each raises its own
            if choice == "compiled":
                raise
            print(
                f"\nWARNING: nset._core could not be built: {type(error).__name__}: {error}\n"
                "nset will run on its pure Python twin. NSET_IMPLEMENTATION=compiled makes this "
                "an error, NSET_IMPLEMENTATION=python does not try.\n",
                file=sys.stderr,
            )
            self.extensions = self.distribution.ext_modules = []
            wheel = self.distribution.get_command_obj("bdist_wheel", create=False)
            if wheel is not None:
                wheel.root_is_pure = True


core = Extension(
    "nset._core",
    sources=["src/nset/_core.pyx"],
    extra_compile_args=COMPILE_ARGS,
    extra_link_args=LINK_ARGS,
)
core.cython_c_in_temp = True  # the generated C goes to the build directory, not beside the source

setup(
    ext_modules=[] if choice == "python" else [core],
    cmdclass={"build_ext": BuildCore},
)
