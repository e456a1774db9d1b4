"""Our variation on gunicorn's ASGI worker: bounded read-ahead, a polite end of refused uploads, a prompt stop.

What gunicorn 26.2 does by itself, and why that is not enough here (read in its source and reproduced, 2026-11):

- it never stops reading a connection, so a body piles up in memory while its handler waits for the disk or the ledger;
- once the client has left, it hides what had come before: an upload that can be resumed would lose up to 2 MiB;
- it waits for body bytes with a timer per chunk; our own watch over the pace (`api.bodies`) needs one per body;
- it closes a connection with unread bytes at once, so the kernel resets it, often before the client saw the answer;
- a `connection: close` in an answer does not close the connection;
- it takes the body of a HEAD for the next request, and drops requests that come before the answer to the one before,
  so that the rest of such a one is taken for a request: behind a proxy, for somebody else's;
- its C parser raises errors that it does not know, and takes bare line feeds and folded lines;
- a connection that sends no request, or half of one, stays for ever (the keep-alive timer is cancelled when it is set);
- on SIGTERM it tells the application last, after the connections are gone: endless streams would hold it up.
"""

from __future__ import annotations

import asyncio
import re
import sys
from http.client import responses
from typing import Any
from weakref import WeakSet

from gunicorn.arbiter import Arbiter
from gunicorn.asgi.protocol import ASGIProtocol, BodyReceiver
from gunicorn.workers import gasgi

from api.limits import LINGER_SECONDS, QUIET_SECONDS, READ_AHEAD_BYTES

_REASONS = {**responses, 460: "Checksum Mismatch"}  # the latter is of tus
_LOOSE = re.compile(rb"(?<!\r)\n|\r\n[ \t]")
_JOIN_BELOW = 64 * 1024
_JOIN_UP_TO = 1024 * 1024


class Receiver(BodyReceiver):  # type: ignore[misc]
    """Holds a bounded part of a body; small pieces that arrived together are handed out as one."""

    _waiter: asyncio.Future[None] | None

    def __init__(self, request: Any, protocol: Any) -> None:
        super().__init__(request, protocol)
        self._held = 0

    def feed(self, chunk: bytes) -> None:
        super().feed(chunk)
        self._held += len(chunk)
        if self._held > READ_AHEAD_BYTES:
            self.protocol._pause_reading()

    async def receive(self) -> dict[str, Any]:
        return self._pop_chunk() if self._chunks else await super().receive()

    def _build_receive_result(self) -> dict[str, Any]:
        return self._pop_chunk() if self._chunks else super()._build_receive_result()

    def _pop_chunk(self) -> dict[str, Any]:
        chunks = self._chunks
        if len(chunks) > 1 and len(chunks[0]) < _JOIN_BELOW and self._held <= _JOIN_UP_TO:
            chunks[:] = [b"".join(chunks)]
        event: dict[str, Any] = super()._pop_chunk()
        self._held -= len(event["body"])
        if self._held <= READ_AHEAD_BYTES // 2:
            self.protocol._resume_reading()
        return event

    async def _wait_for_data(self) -> None:
        if self._chunks or self._complete or self._disconnected:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class Protocol(ASGIProtocol):  # type: ignore[misc]
    """One connection."""

    _lingering = False
    _quiet: asyncio.TimerHandle | None = None
    _tail = b""
    _behind = b""
    """What came behind the request that is being answered."""
    _left = False
    """Whether some of that is lost, so that nothing that follows can be read."""

    def connection_made(self, transport: Any) -> None:
        self.worker.protocols.add(self)
        super().connection_made(transport)
        self._arm_keepalive_timer()

    def connection_lost(self, error: Exception | None) -> None:
        self._hush()
        super().connection_lost(error)

    def _arm_keepalive_timer(self) -> None:
        """Called when a connection is ready for a request: at its start, and when one was answered."""
        self._quiet = self.worker.loop.call_later(QUIET_SECONDS, self._close_transport)
        behind, self._behind = self._behind, b""
        if behind:
            self._feed_callback_parser(behind)

    def _hush(self) -> None:
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = None

    def _on_headers_complete(self) -> Any:
        self._hush()
        self._tail = b""
        super()._on_headers_complete()
        self._body_receiver = Receiver(self._current_request, self)
        # gunicorn answers True for HEAD: the parser then takes the request for complete, and its body, which comes a
        # moment later, for the next request on this connection, which may be somebody else's behind a proxy.
        return False

    def _feed_callback_parser(self, data: bytes) -> bool:
        if self._current_request is None:
            if not self._tail:
                # Some clients end a body with an empty line more: RFC 9112, section 2.2. The parser in Python minds.
                data = data.removeprefix(b"\r\n")
            if self._head_is_loose(data):
                return self._refuse("bare or folded lines")
        if self._is_complete():
            self._keep_behind(data)
            return True
        try:
            going_on: bool = super()._feed_callback_parser(data)
        except Exception as error:
            # The C parser's own errors are not the ones gunicorn knows: without this the connection just breaks.
            return self._refuse(repr(error))
        parser: Any = self._callback_parser
        if going_on and self._is_complete() and (behind := parser.remaining()):
            self._keep_behind(behind)
            if parser.remaining_truncated:
                self._current_request.must_close = self._left = True
        return going_on

    def _is_complete(self) -> bool:
        """Whether a request is here as a whole, and still to be answered."""
        parser: Any = self._callback_parser
        return self._current_request is not None and bool(parser.is_complete)

    def _keep_behind(self, data: bytes) -> None:
        """What came behind a request that is not answered yet is the next one's. gunicorn drops it, and would take what
        follows it for a request.
        """
        self._behind += data
        self._pause_reading()

    def _head_is_loose(self, data: bytes) -> bool:
        """Whether a head has bare line feeds or folded lines: the C parser takes both, proxies read them otherwise."""
        text = self._tail + data
        end = text.find(b"\r\n\r\n")
        self._tail = text[-3:]
        return _LOOSE.search(text, 1 if len(text) > len(data) else 0, end if end >= 0 else len(text)) is not None

    def _refuse(self, reason: str) -> bool:
        self.log.debug("unreadable request: %s", reason)
        self._send_error_response(400, "Bad Request")
        self._close_transport()
        return False

    def _send_response_start(self, status: int, headers: Any, request: Any) -> None:
        receiver: Any = self._body_receiver
        if any(name == b"connection" and value == b"close" for name, value in headers):
            request.must_close = True
        elif receiver is not None and not receiver._complete:
            # Nobody will read the rest of the body. Said aloud, or a proxy puts somebody else's request on a connection
            # that is about to end.
            request.must_close = True
            headers = [*headers, (b"connection", b"close")]
        super()._send_response_start(status, headers, request)

    def _is_websocket_upgrade(self, request: Any) -> bool:
        return False  # nothing here speaks it: an upgrade that is not taken is an ordinary request

    def _get_reason_phrase(self, status: int) -> str:
        return _REASONS.get(status, "Unknown")

    def idle(self) -> bool:
        """Whether no request is being read or answered."""
        return self._current_request is None

    def _close_transport(self) -> None:
        receiver: Any = self._body_receiver
        transport = self.transport
        read = receiver is None or (receiver._complete and not self._behind and not self._left)
        if read or self._lingering or self._conn_lost_handled or transport.is_closing():
            super()._close_transport()
            return
        # End our half, then read and drop what the client still sends, until it has seen the answer and hangs up.
        self._lingering = True
        self._closed = True
        self._callback_parser = None
        receiver.signal_disconnect()
        try:
            transport.write_eof()
        except (OSError, RuntimeError, NotImplementedError):
            transport.close()
            return
        self._resume_reading()
        self.worker.loop.call_later(LINGER_SECONDS, transport.close)


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
    """One process of the API. Its application is an `api.asgi.Composed`."""

    def init_process(self) -> None:
        self.protocols: WeakSet[Protocol] = WeakSet()
        # gunicorn looks for the C parser once and notes it on the class that asked, but reads the note on its own
        # class: asked through ours, every connection would get the parser in Python.
        ASGIProtocol._check_h1c_protocol_available()
        # The class is looked up by this name when a connection comes in; only this process is affected.
        gasgi.ASGIProtocol = Protocol
        super().init_process()

    async def _serve(self) -> None:
        self._serving = asyncio.current_task()
        await super()._serve()

    def handle_exit_signal(self) -> None:
        if not self.alive:
            return
        super().handle_exit_signal()
        self.asgi.stop()
        self._close_idle()
        if self.servers and self._serving:
            self._serving.cancel()  # ends the wait for the next heartbeat, and nothing else

    def handle_quit_signal(self) -> None:
        # Ctrl-C in a terminal reaches the whole group: the first one is a polite stop, the second one is not.
        self._quick_shutdown = not self.alive
        self.handle_exit_signal()

    def _close_idle(self) -> None:
        for protocol in list(self.protocols):
            if protocol.idle():
                protocol._close_transport()

    def run(self) -> None:
        super().run()
        if self.asgi.failed:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
