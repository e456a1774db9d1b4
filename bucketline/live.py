"""`bucketline jobs --watch` on a terminal: the jobs that change, as a table that stays where it is."""

import threading
import time
from collections import deque
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bucketline.client import Client, ClientError
from bucketline.exits import FINE
from bucketline.report import human_size
from bucketline.results import TERMINAL, Job

NEWEST = 20
SAMPLES = 12
# Heading, the width of its column, and so wide the terminal has to be for it. The name gets what is left.
COLUMNS = (("STATE", 12, 0), ("DONE", 6, 0), ("SIZE", 10, 56), ("SPEED", 12, 72), ("TO", 20, 100), ("ID", 36, 140))
_STYLES = {"succeeded": "green", "failed": "red", "partially_succeeded": "yellow", "cancelled": "dim", "expired": "dim"}


def follow(client: Client) -> int:
    """The newest jobs at first, then whatever changes, until Ctrl-C."""
    shown = Jobs(client.jobs(limit=NEWEST).items)
    with Live(console=Console(), get_renderable=shown.render, refresh_per_second=5):
        for event in client.events():
            try:
                shown.take(event.data, client)
            except ClientError:
                continue  # it is gone again already
    return FINE


class Jobs:
    """What is in the table: the newest job first. Drawn by a thread of its own while events come in."""

    def __init__(self, newest: list[Job], console: Console | None = None) -> None:
        self._lock = threading.Lock()
        self._console = console or Console()
        self._seen: dict[str, deque[tuple[float, int]]] = {}
        self._jobs = {job.id: job for job in reversed(newest)}

    def take(self, data: dict[str, Any], client: Client) -> None:
        """What an event says; a job that was not known yet is asked for, and one that ended is looked at again."""
        id = str(data.get("id", ""))
        job = self._jobs.get(id)
        if "created_at" in data:
            job = Job.read(data)
        elif job is None or data.get("state") in TERMINAL or not job.transfers:
            job = client.job(id)
        else:
            job.state, job.sent = data.get("state", job.state), data.get("sent", job.sent)
        with self._lock:
            self._jobs[id] = job
            seen = self._seen.setdefault(id, deque(maxlen=SAMPLES))
            seen.append((time.monotonic(), job.sent))
            if job.ended:
                del self._seen[id]

    def _speed(self, job: Job) -> str:
        """Over the last events: they say how much, not how fast."""
        seen = self._seen.get(job.id)
        if not seen or job.state != "running":
            return ""
        (began, first), (now, last) = seen[0], seen[-1]
        return f"{human_size((last - first) / (now - began))}/s" if last > first and now > began else ""

    def render(self) -> RenderableType:
        width, height = self._console.size
        with self._lock:
            jobs = list(self._jobs.values())[: -max(2, height - 2) : -1]
        if not jobs:
            return Text("no jobs yet; Ctrl-C ends this")
        columns = [(heading, room) for heading, room, least in COLUMNS if width >= least]
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, expand=True, header_style="bold")
        table.add_column("NAME", no_wrap=True, overflow="ellipsis", ratio=1)
        for heading, room in columns:
            right = heading in ("DONE", "SIZE", "SPEED")
            justify = "right" if right else "left"
            table.add_column(heading, width=room, no_wrap=True, overflow="ellipsis", justify=justify)  # type: ignore[arg-type]
        for job in jobs:
            cells = _cells(job) | {"SPEED": Text(self._speed(job))}
            table.add_row(_plain(job.name or job.id), *(cells[heading] for heading, _ in columns))
        return table


def _cells(job: Job) -> dict[str, Text]:
    done = 100 if job.succeeded else 100 * job.sent // job.size if job.size else None
    return {
        "STATE": Text(job.state.replace("partially_succeeded", "partly"), style=_STYLES.get(job.state, "")),
        "DONE": Text("" if done is None else f"{done} %"),
        "SIZE": Text(human_size(job.size)),
        "ID": Text(job.id),
        "TO": _plain(", ".join(transfer.destination for transfer in job.transfers)),
    }


def _plain(text: str) -> Text:
    """A name from outside, fit for a terminal: no control characters."""
    return Text("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text))
