"""A process at its limit of open files."""

import os
from contextlib import contextmanager, suppress

import pytest


@contextmanager
def one_descriptor_left():
    """Let this process open one more file, and no others."""
    resource = pytest.importorskip("resource")  # Windows has none, and no such limit
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = [os.open(os.devnull, os.O_RDONLY)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files[0] + 10, limits[1]))
        with suppress(OSError):
            while True:
                files.append(os.dup(files[0]))
        os.close(files.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for file in files:
            os.close(file)
