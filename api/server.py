"""Running the API: gunicorn, started by program, with nothing read from the working directory."""

from __future__ import annotations

import ipaddress
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import structlog
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.glogging import Logger

from api.limits import GRACEFUL_SECONDS, HEADER_FIELD_BYTES, WORKER_TIMEOUT_SECONDS
from api.loopback import is_loopback
from engine import heap
from engine.config import Settings

log = structlog.get_logger("bucketline.api")

TITLE = "bucketline api"
CONFIGURATION = 78
"""EX_CONFIG of sysexits.h: the settings do not allow a start."""


class Lines(Logger):  # type: ignore[misc]
    """gunicorn's own lines in the form of all others, where a form was chosen."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        if logging.getLogger().handlers:
            self.error_log.handlers.clear()
            self.error_log.propagate = True


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn with our settings. `factory` makes the ASGI application, in each worker after its fork."""

    def __init__(self, factory: Callable[[], Any], options: dict[str, Any]) -> None:
        self._factory = factory
        self._options = options
        super().__init__(prog=TITLE)

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return self._factory()


def run(settings: Settings, host: str = "127.0.0.1", port: int = 8000, *, workers: int = 1) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Without an API key only loopback addresses are bound (else 78)."""
    if not settings.api_key and not _binds_loopback(host):
        print(
            f"bucketline api: {host} can be reached from other machines, and no API key is set.\n"
            "Set BUCKETLINE_API_KEY, or bind 127.0.0.1.",
            file=sys.stderr,
        )
        return CONFIGURATION

    def factory() -> Any:
        from api.asgi import compose

        application = compose(settings)
        heap.give_back()
        return application

    return serve(factory, host, port, workers=workers, announce=_announce_json if settings.log == "json" else _announce)


def _announce(arbiter: Any) -> None:
    for listener in arbiter.LISTENERS:
        print(f"bucketline api listens at {listener}", file=sys.stderr, flush=True)


def _announce_json(arbiter: Any) -> None:
    fast = ASGIProtocol._check_h1c_protocol_available() and ASGIProtocol._h1c_has_limits  # as gunicorn itself asks
    parser = "c" if fast else "python"
    for listener in arbiter.LISTENERS:
        log.info("listening", url=str(listener), http_parser=parser)


def serve(
    factory: Callable[[], Any], host: str, port: int, *, workers: int = 1, announce: Callable[[Any], None] = _announce
) -> int:
    """Serve the application that `factory` makes; the exit code."""
    master = os.getpid()
    try:
        Arbiter(Server(factory, {**_options(host, port, workers), "when_ready": announce})).run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        if os.getpid() != master:
            # A worker ends here too, being a fork: nothing of its parent's caller must run in it.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        return CONFIGURATION if code == Arbiter.WORKER_BOOT_ERROR else code
    except RuntimeError as error:
        print(f"bucketline api: {error}", file=sys.stderr)
        return 1
    return 0


def _options(host: str, port: int, workers: int) -> dict[str, Any]:
    return {
        "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        "workers": workers,
        "worker_class": _worker_class,
        "asgi_loop": "uvloop",
        "asgi_lifespan": "on",
        "timeout": WORKER_TIMEOUT_SECONDS,
        "graceful_timeout": GRACEFUL_SECONDS,
        "keepalive": 15,
        "limit_request_field_size": HEADER_FIELD_BYTES,
        "control_socket_disable": True,
        "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,
        "loglevel": "warning",
        "logger_class": Lines,
        "default_proc_name": TITLE,
        "pre_fork": _entitle_master,
        "post_worker_init": _entitle,
    }


def _worker_class() -> Any:
    from api.wire import Worker

    return Worker


def _entitle_master(arbiter: Any, worker: Any) -> None:
    _entitle(arbiter)  # here, because gunicorn sets its own title after everything else that it lets us hook


def _entitle(_: Any) -> None:
    from setproctitle import setproctitle

    setproctitle(TITLE)


def _binds_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return is_loopback(host)
