"""Runs the Python of a page as one program: python run_page.py PAGE serves|forks.

Blocks that fork are a program of their own, as those before may have started threads.

The names that how-to and reference pages take as given are here. Servers listen at a port that is
free. What a page serves gets an N-SET, and has to answer it.
"""

import ast
import asyncio
import inspect
import os
import signal
import sys
from pathlib import Path
from types import CodeType
from typing import Any

from acceptors import n_set_pdus
from associations import INSTANCE, MPPS
from pages import blocks
from pynetdicom import AE, evt
from raw_peer import Peer

import nset.pynetdicom
import nset.scp

PORTS = ('("", 11112)', '("", 2762)', '("127.0.0.1", 9112)')
PEERS = ("ssl_context=", "proxy_protocol=")  # they do more than `report`


class Step:
    """Of a program that keeps steps."""

    is_final = False

    def missing_attributes(self, changes: Any) -> list[str]:
        return []

    def update(self, changes: Any) -> None:
        self.changes = changes


def report(address: Any) -> None:
    """Send an N-SET there, which is answered by success."""
    with Peer(address[1], MPPS) as peer:
        peer.send(n_set_pdus(nset))
        answer, _ = peer.receive_message()
        assert answer.Status == 0x0000, answer
        peer.release()


def entity() -> AE:
    ae = AE()
    ae.add_supported_context(MPPS)
    return ae


run, serve = nset.scp.run, nset.scp.serve


def run_for_one_report(*args: Any, **keywords: Any) -> None:
    """End it once all processes serve, and have answered."""
    then = keywords.pop("started", lambda processes: None)
    keywords.setdefault("processes", 2)

    def started(processes: Any) -> None:
        then(processes)
        if not keywords.get("proxy_protocol"):
            report(processes.server_address)
        os.kill(os.getpid(), signal.SIGTERM)

    if args[1] is None and keywords["sock"] is None:  # systemd has passed on none
        args = (args[0], ("127.0.0.1", 0), *args[2:])
    run(*args, **keywords, started=started)


async def serve_one_report(*args: Any, **keywords: Any) -> Any:
    server = await serve(*args, **keywords)
    await asyncio.to_thread(report, server.server_address)
    server.stop()
    return server


def compiled(text: str, page: str) -> CodeType:
    for port in PORTS:
        text = text.replace(port, '("127.0.0.1", 0)')
    return compile(text, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def main(page: str, how: str) -> None:
    nset.scp.run, nset.scp.serve = run_for_one_report, serve_one_report
    names: dict[str, Any] = {"nset": nset, "evt": evt}
    names["store"] = lambda event: event.modification_list
    names["steps"] = {INSTANCE: Step()}
    names["ae"], names["handlers"] = entity(), [(evt.EVT_N_SET, lambda event: (0x0000, None))]
    for block in blocks(Path(page), "python"):
        if ("scp.run(" in block.text) is not (how == "forks"):
            continue
        before = dict(names)
        code = compiled(block.text, page)
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(eval(code, names))
            continue
        exec(code, names)
        new = {name for name, value in names.items() if before.get(name) is not value}
        has_client = "tutorials" in page or any(peer in block.text for peer in PEERS)
        if "server" in new and not has_client:
            report(names["server"].server_address)
        if "handle" in new:
            handlers = [(evt.EVT_N_SET, names["handle"])]
            address = ("127.0.0.1", 0)
            with nset.scp.start_server(entity(), address, False, evt_handlers=handlers) as server:
                report(server.server_address)
    names["ae"].shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
