"""The extensions, the switch that has them built or not, and an sdist of the same bytes each time.

``NSET_IMPLEMENTATION`` means here what it means at run time: ``compiled`` builds all or fails,
``python`` builds none, ``auto`` (the default) builds all where that works, else none.
Everything else about the package is in pyproject.toml; the compiler directives are in the heads of
the .pyx files.
"""

import gzip
import os
import sys
import tarfile
import time
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

CHOICES = ("auto", "compiled", "python")
choice = os.environ.get("NSET_IMPLEMENTATION", "auto")
if choice not in CHOICES:
    raise ValueError(f"NSET_IMPLEMENTATION must be one of {', '.join(CHOICES)}, not {choice!r}")

# MSVC optimises, warns and leaves out debug data without being told to. Cython's initializers lack
# the fields that a newer Python has added to a type; those are zero then.
COMPILE_ARGS = ["-O3", "-g0", "-Wall", "-Wextra", "-Wno-missing-field-initializers"]
if sys.platform == "win32":
    COMPILE_ARGS = []
LINK_ARGS = {"linux": ["-s"], "darwin": ["-Wl,-x"]}.get(sys.platform, [])
if "-fsanitize" in os.environ.get("CFLAGS", ""):  # whose reports name functions and lines
    COMPILE_ARGS, LINK_ARGS = ["-O1", "-g", "-fno-omit-frame-pointer"], []

os.umask(0o022)  # a wheel has the modes of what is made here: the same for whoever makes it


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


class SameBytesSdist(sdist):
    """Makes the same bytes of the same files; SOURCE_DATE_EPOCH is their date, else it is now.

    setuptools heeds that variable in wheels, but not in an sdist.
    """

    def make_archive(self, base_name, *args, base_dir, **kwargs):
        """Return the path of the archive of all files in the folder `base_dir`."""
        date = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))

        def entry(info):
            info.mtime = date
            info.mode = 0o755 if info.mode & 0o100 else 0o644  # as git has them, for any umask
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            return info

        archive = f"{base_name}.tar.gz"
        with (
            open(archive, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=date) as compressed,
            tarfile.open(fileobj=compressed, mode="w") as tar,
        ):
            tar.add(base_dir, filter=entry)
        return archive


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
    cmdclass={"build_ext": BuildCores, "sdist": SameBytesSdist},
)
