"""The lines of a service: its own and those of its libraries, in one form."""

from __future__ import annotations

import subprocess
import sys

from tests.documents import ROOT

CODE = """
import logging, structlog
from bucketline import logs
logs.configure()
structlog.contextvars.bind_contextvars(job="7", part=3, attempt=1, trace_id="abc")
structlog.get_logger("bucketline.retry").warning("step failed", code="throttled")
logging.getLogger("somebody.else").warning("a %s of\\ntheirs", "word")
logging.getLogger("somebody.else").info("never seen")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("dramatiq").error("Failed", exc_info=True)
"""


def test_lines_of_libraries_carry_the_names_of_the_step_too() -> None:
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0 and done.stdout == ""
    ours, theirs, failed = done.stderr.splitlines()
    for line in (ours, theirs, failed):
        assert {"job=7", "part=3", "attempt=1", "trace_id=abc"} <= set(line.split())
    assert "code=throttled" in ours and 'event="step failed"' in ours
    assert 'event="a word of\\ntheirs"' in theirs and "logger=somebody.else" in theirs and "level=warning" in theirs
    assert "ZeroDivisionError" in failed and "Traceback" in failed
