"""How a service logs: one line per event on stderr, readable on a terminal, as `key=value` elsewhere."""

import logging
import sys

import structlog
from structlog.typing import Processor


def configure() -> None:
    """Set up our own log and that of the libraries. stdout stays for what a command answers."""
    terminal = sys.stderr.isatty()
    renderer: Processor = structlog.processors.LogfmtRenderer(bool_as_flag=False)
    if terminal:
        renderer = structlog.dev.ConsoleRenderer()
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.add_log_level,
    ]
    structlog.configure(
        processors=[*common, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # A library that says something while a step is worked says it with the step's names, too.
    theirs = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*common, structlog.stdlib.add_logger_name],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(theirs)
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
