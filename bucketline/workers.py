"""`bucketline worker --processes N`: several worker processes under one supervisor."""

import os

from bucketline.cli import say
from bucketline.stack import Child, Stack, trim_log
from bucketline.up import WORKER_STOP_SECONDS
from engine.config import Settings


def run(settings: Settings) -> int:
    """Run until SIGINT or SIGTERM; a worker that dies is started again. Each writes to its own file below `log/`."""
    logs = settings.data / "log"
    logs.mkdir(parents=True, exist_ok=True)
    children = []
    for number in range(1, settings.processes + 1):
        log = logs / f"worker-{number}.log"
        trim_log(log)
        children.append(Child(f"worker {number}", ["worker", "--processes", "1"], log, WORKER_STOP_SECONDS, 1))
    environ = {**os.environ, **settings.environ(), "BUCKETLINE_PROCESSES": "1"}
    return Stack([(children, lambda: True)], environ, say, lambda: None, passes_hangup=True).run()
