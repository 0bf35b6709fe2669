"""A PostgreSQL of the tests' own: Debian's packages, in a folder, at a Unix socket."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

USER = "postgres"  # of the system, too: PostgreSQL does not run as root


class Cluster:
    """A cluster, that is started and stopped.

    Attributes
    ----------
    folder : pathlib.Path
        Where it is, with its socket.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._data = folder / "data"
        self._run("initdb", "--auth=trust", f"--username={USER}", "--no-sync", "--encoding=UTF8")

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off -c max_connections=50"
        self._run("pg_ctl", "start", "--wait", f"--log={self.folder}/log", f"--options={options}")

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "--mode=immediate")

    def url(self, schema: str) -> str:
        """Where a test has tables of its own."""
        folder = quote(str(self.folder), safe="")
        return f"postgresql:///postgres?host={folder}&user={USER}&options=-csearch_path%3D{schema}"

    def sql(self, statement: str) -> None:
        self._run("psql", f"--host={self.folder}", "--quiet", "--command", statement)

    def _run(self, name: str, *arguments: str) -> None:
        known = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        program = str(known[-1]) if known else shutil.which(name)
        assert program, f"{name} is missing: run .ci/install-peers"
        is_root = os.geteuid() == 0
        done = subprocess.run(
            [program, *arguments],
            env={"PGDATA": str(self._data), "PGUSER": USER, "PATH": os.environ["PATH"]},
            cwd=self.folder,
            user=USER if is_root else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if name == "pg_ctl" else subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{name}: {done.stdout}"


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Run one; the folder is short, as a socket's path may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="nset-pg-", dir="/tmp") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        made = Cluster(folder)
        made.start()
        try:
            yield made
        finally:
            made.stop()
