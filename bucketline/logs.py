"""How a service logs: one line per event on stderr, readable on a terminal, as `key=value` elsewhere."""

import logging
import sys

import structlog


def configure() -> None:
    """Set up our own log and that of the libraries. stdout stays for what a command answers."""
    terminal = sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.LogfmtRenderer(bool_as_flag=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    pattern = "time=%(asctime)s level=%(levelname)s event=%(message)r logger=%(name)s"
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=pattern)
