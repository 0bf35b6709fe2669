"""Tries a release: try_release.py SDIST WHEEL ..., as `make try-release` calls it.

Uploads the files to an index on this machine, as the workflow does to PyPI. A fresh environment
without a compiler installs nset from there, then runs the first tutorial and the demo.
"""

import os
import subprocess
import sys
import tempfile
import threading
import venv
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pypiserver

HERE = Path(__file__).parent
FILES = sys.argv[1:]


class Quiet(WSGIRequestHandler):
    """Keeps no log of requests."""

    def log_message(self, *args: object) -> None:
        """Drop it."""


def run(*command: object, **environment: str) -> None:
    """Run it outside of the repository, or end with its status."""
    print("+", *command, flush=True)
    done = subprocess.run([*map(str, command)], cwd=place, env=os.environ | environment)
    if done.returncode:
        sys.exit(f"failed with {done.returncode}")


with tempfile.TemporaryDirectory() as place:
    index = Path(place, "index")
    index.mkdir()
    # What it does not have, pip is sent to PyPI for.
    app = pypiserver.app(roots=[str(index)], authenticate=[], password_file=".")
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        upload = ["--non-interactive", "--username", "", "--password", "", "--repository-url", url]
        run(sys.executable, "-m", "twine", "upload", *upload, *map(os.path.abspath, FILES))

        venv.create(Path(place, "venv"), with_pip=True)
        python = Path(place, "venv/bin/python")
        run(
            *(python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "nset[cli,scp]"),
            CC="false",
            PIP_CONFIG_FILE=os.devnull,
            PIP_INDEX_URL=f"{url}simple/",
        )
        server.shutdown()
    run(python, HERE / "check_live.py")
    run(python, "-m", "doctest", HERE.parent / "docs/tutorials/drop-in.md")
    run(Path(place, "venv/bin/nset"), "demo")
