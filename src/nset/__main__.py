"""``nset`` and ``python -m nset``."""

import errno
import os
import sys


def main(name: str = "nset") -> None:
    """Run the command line; exit with the name of a missing package, or if the disk is full."""
    try:
        from nset import cli
    except ModuleNotFoundError as exc:
        if exc.name not in ("click", "rich"):
            raise
        sys.exit(f"{name} needs {exc.name}: pip install 'nset[cli]'")
    try:
        cli.main(prog_name=name)
    except OSError as exc:
        if exc.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python fails once more, at its end
        sys.exit(f"{name}: standard output: {exc.strerror}")


if __name__ == "__main__":
    main("python -m nset")
