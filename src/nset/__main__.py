"""``python -m nset``."""

import sys

if __name__ == "__main__":
    try:
        from nset.cli import main
    except ModuleNotFoundError as exc:
        if exc.name not in ("click", "rich"):
            raise
        sys.exit(f"python -m nset needs {exc.name}: pip install 'nset[cli]'")
    main(prog_name="python -m nset")
