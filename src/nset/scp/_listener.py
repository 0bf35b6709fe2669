"""Takes the connections of a server, as many as there may be, and closes silent ones."""

import asyncio
import logging
import socket
from functools import partial
from typing import Any

from nset.logs import address_name
from nset.scp import _proxy, _tls
from nset.scp._ae_settings import AESettings
from nset.scp._association import Association
from nset.scp._dispatch import Dispatcher
from nset.scp._implementation import Deadlines

_LOGGER = logging.getLogger("nset")

# asyncio's own steps from accept() to connection_made(), and one to spare.
_TURNS_UNTIL_CONNECTED = 4

# Connections that are taken in one turn of the loop; then those that there are have theirs.
_MAX_ACCEPTS_PER_TURN = 8

# Seconds until connections are taken again when there were no descriptors, and until a silent one
# is closed after its time.
_RETRY_SECONDS = 0.1


class Listener:
    """The listening socket in the loop, and who closes connections from which nothing comes.

    In the loop's thread.

    Parameters
    ----------
    server : Server
        The server, with the socket.
    proxies : Trusted
        The peers whose connections begin with a PROXY protocol header.
    """

    def __init__(self, server: Any, proxies: _proxy.Trusted) -> None:
        self._server = server
        self._proxies = proxies
        self._connections = connections = server.connections
        connections.first_pdus = Deadlines(server.loop, self._first_pdu_is_due)
        connections.makes_room = self._makes_room
        self._socket: socket.socket | None = None  # a copy of the server's, for the loop
        self._accepting: asyncio.AbstractServer | asyncio.Task[None] | None = None

    @property
    def sockets(self) -> list[Any]:
        """The sockets of the listener's own."""
        return [self._socket, *(sock for _, sock in self._connections.connecting.values())]

    async def listen(self) -> None:
        """Begin to accept connections, with or without TLS."""
        await self.stop()
        server = self._server
        loop = server.loop
        # Accepted sockets inherit it; asyncio sets it only on those of the protocol IPPROTO_TCP.
        server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if server.ssl_context is not None or self._proxies or not self._has_readers():
            self._accepting = loop.create_task(self._accept())
            return
        self._socket = server.socket.dup()  # closed when TLS is set later
        self._accepting = listening = await loop.create_server(
            partial(Dispatcher, server),
            sock=self._socket,
            backlog=_MAX_ACCEPTS_PER_TURN,  # asyncio accepts as many in a turn
            start_serving=False,  # else a cancelled program would be left with its socket
        )
        try:
            await listening.start_serving()
            server.socket.listen(server.request_queue_size)
        except BaseException:
            listening.close()
            raise

    def _has_readers(self) -> bool:
        """Return False for the default loop of Windows.

        The server of that loop closes the listening socket once a peer has gone too early.
        """
        try:
            self._server.loop.remove_reader(self._server.socket)
        except NotImplementedError:
            return False
        return True

    async def stop(self) -> None:
        """Accept no more connections; those that were accepted are connected first."""
        accepting, self._accepting = self._accepting, None
        if isinstance(accepting, asyncio.Task):
            accepting.cancel()
        elif accepting is not None:
            try:
                # asyncio leaves sockets open that its closed server has accepted before.
                self._server.loop.remove_reader(self._socket)
                for _ in range(_TURNS_UNTIL_CONNECTED):
                    await asyncio.sleep(0)
            finally:
                accepting.close()

    def close(self) -> None:
        """Close the copy of the listening socket."""
        if self._socket is not None:
            self._socket.close()

    # -- Connections that the loop's own server does not take --------------------------------------

    async def _accept(self) -> None:
        """Accept them, a few per loop iteration."""
        listening: Any = self._server.socket
        while True:
            try:
                try:
                    await _tls.readable(listening)
                except NotImplementedError:  # the default loop of Windows
                    self._begin(*await self._server.loop.sock_accept(listening))
                for _ in range(_MAX_ACCEPTS_PER_TURN):
                    self._begin(*listening.accept())
            except (BlockingIOError, ConnectionError):  # that was all, or one has gone already
                pass
            except OSError as exc:  # too many descriptors
                _LOGGER.error("Can't take a connection: %s", exc)
                await asyncio.sleep(_RETRY_SECONDS)
            await asyncio.sleep(0)

    def _begin(self, sock: socket.socket, address: Any) -> None:
        """Begin with what is before the PDUs of a connection, if there is room for it."""
        server = self._server
        if not self._connections.admits(server.settings(), address):
            sock.close()
            return
        server.counters.count("connections")
        sock.setblocking(False)
        path = Dispatcher(server)
        path.address = address
        self._connections.wait_for_pdu(path)
        # The time to establish an association; asyncio requires more than 0.
        seconds = max(path.settings.acse_timeout or 60, 0.001)
        task = server.loop.create_task(self._open(path, sock, seconds))
        self._connections.connecting[path] = task, sock
        server.tasks.add(task)
        task.add_done_callback(partial(self._has_begun, path, sock))

    async def _open(self, path: Dispatcher, sock: socket.socket, seconds: float) -> None:
        """Read the PROXY protocol header, shake hands for TLS, and open the connection."""
        if self._proxies.has(path.address):
            address = await _proxy.peer_behind(sock, path.address)
            if address is None:
                return
            path.address = address
        await _tls.open_connection(path, sock, path.address, self._server.ssl_context, seconds)

    def _has_begun(self, path: Dispatcher, sock: socket.socket, task: "asyncio.Task[None]") -> None:
        self._server.tasks.discard(task)
        if path.transport is None:  # and the task may not have begun
            self._connections.connecting.pop(path, None)
            self._connections.stop_waiting(path)
            sock.close()
            path.is_connected, path.is_over = False, True
            if path.made is not None:
                path.assoc.cancel_timer()
                path.assoc.break_cycles()

    # -- Admission ---------------------------------------------------------------------------------

    def _makes_room(self, settings: AESettings, address: Any) -> bool:
        """Close the oldest silent connection for another one; return whether there was one."""
        if not self._connections.is_full:
            self._connections.is_full = True
            _LOGGER.warning(
                "%d connections already (Limits.connections) when %s connects: closing those that "
                "have sent nothing, the oldest first, or else new ones",
                *(settings.maximum_connections, address_name(address)),
            )
        self._server.counters.count("refused_connections")
        if not self._connections.silent:
            return False
        self._close_silent(next(iter(self._connections.silent)))
        return True

    def _first_pdu_is_due(self, path: Dispatcher) -> None:
        if path in self._connections.silent:
            self._silent_too_long(path)
        else:
            path.assoc.check_idle()

    def _silent_too_long(self, path: Dispatcher) -> None:
        if path.is_reading_paused:  # it is the server that does not read
            self._connections.wait_for_pdu(path)
            return
        acse_timeout = path.settings.acse_timeout
        if acse_timeout is not None and acse_timeout <= self._server.limits.first_pdu_timeout:
            path.assoc.artim_expired()
        # First process what has arrived while the loop stood still.
        path.assoc.call_later(_RETRY_SECONDS, self._end_silence)

    def _end_silence(self, assoc: Association) -> None:
        if assoc.path not in self._connections.silent:
            return
        _LOGGER.info(
            "Closing the connection with %s, which has sent no PDU in %s s",
            *(address_name(assoc.address), self._server.limits.first_pdu_timeout),
        )
        self._close_silent(assoc.path)

    def _close_silent(self, path: Dispatcher) -> None:
        """Close a connection whose peer has sent no PDU."""
        self._connections.silent.pop(path, None)
        self._connections.connected.discard(path)  # it counts no more
        connecting = self._connections.connecting.pop(path, None)
        if connecting is None:
            path.abort()
        else:
            connecting[0].cancel()
