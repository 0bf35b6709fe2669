"""``nset`` and ``python -m nset``."""

import sys


def main(name: str = "nset") -> None:
    """Run the command line, or exit with the name of a missing package."""
    try:
        from nset import cli
    except ModuleNotFoundError as exc:
        if exc.name not in ("click", "rich"):
            raise
        sys.exit(f"{name} needs {exc.name}: pip install 'nset[cli]'")
    cli.main(prog_name=name)


if __name__ == "__main__":
    main("python -m nset")
