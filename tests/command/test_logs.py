"""The lines of a service: its own and those of its libraries, in one form."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.documents import ROOT

CODE = """
import logging, structlog
from bucketline import logs
logs.configure(FORM)
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
    ours, theirs, failed = said(CODE)
    for line in (ours, theirs, failed):
        assert {"job=7", "part=3", "attempt=1", "trace_id=abc"} <= set(line.split())
    assert "code=throttled" in ours and 'event="step failed"' in ours
    assert 'event="a word of\\ntheirs"' in theirs and "logger=somebody.else" in theirs and "level=warning" in theirs
    assert "ZeroDivisionError" in failed and "Traceback" in failed
    assert [word.partition("=")[0] for word in ours.split()[:3]] == ["time", "level", "event"]


def test_in_json_all_lines_are_objects_with_the_same_members() -> None:
    ours, theirs, failed = (json.loads(line) for line in said(CODE, "json"))
    assert list(ours)[:3] == ["time", "level", "event"]
    assert ours.items() >= {"event": "step failed", "code": "throttled", "part": 3, "level": "warning"}.items()
    assert theirs.items() >= {"event": "a word of\ntheirs", "logger": "somebody.else", "job": "7"}.items()
    assert "Traceback" in failed["exception"]


def test_a_lost_queue_is_told_once_and_not_for_each_queue_each_second() -> None:
    code = """
import logging
from bucketline import logs
logs.configure(FORM)
for number in range(40):
    consumer = logging.getLogger(f"dramatiq.worker.ConsumerThread(queue{number % 4})")
    consumer.critical("Consumer encountered a connection error: %s", "refused")
consumer.critical("Consumer encountered an unexpected error.")
"""
    assert len(said(code)) == 2


def said(code: str, form: str = "text") -> list[str]:
    command = [sys.executable, "-c", f"FORM = {form!r}\n{code}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout == ""
    return done.stderr.splitlines()
