"""How a service logs: one line per event on stderr, readable on a terminal, else as `key=value` or JSON."""

import logging
import sys
import time

import structlog
from structlog.typing import Processor

FIRST = ("time", "level", "event")
SELDOM_SECONDS = 60.0


class Seldom(logging.Filter):
    """Lets Dramatiq complain of a lost connection once a minute, not for each of its queues each second.

    What there is to know of an outage is told by ourselves (engine.sweeper).
    """

    def __init__(self) -> None:
        super().__init__()
        self._next = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        if not (record.name.startswith("dramatiq.") and "connection error" in str(record.msg)):
            return True
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + SELDOM_SECONDS
        return True


def configure(form: str = "text") -> None:
    """Set up our own log and that of the libraries: `text` or `json`. stdout stays for what a command answers."""
    renderer: Processor = structlog.processors.LogfmtRenderer(
        key_order=list(FIRST), drop_missing=True, bool_as_flag=False
    )
    if form == "json":
        renderer = structlog.processors.JSONRenderer(default=str, ensure_ascii=False)
    elif sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer()
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.add_log_level,
    ]
    structlog.configure(
        processors=[*common, structlog.processors.format_exc_info, _first, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # A library that says something while a step is worked says it with the step's names, too.
    theirs = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*common, structlog.stdlib.add_logger_name],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _first,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(theirs)
    handler.addFilter(Seldom())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def _first(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """When, how bad and what, before what it was about."""
    return {**{key: line[key] for key in FIRST if key in line}, **line}
