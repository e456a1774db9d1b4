"""Files on their way, as a terminal shows them: a bar for each way, as wide as there is room for."""

import threading
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, Task, TaskID
from rich.table import Table
from rich.text import Text

from bucketline.report import human_size, trouble, verdict
from bucketline.results import Job, Transfer

DRAW_SECONDS = 0.2
# So wide a terminal has to be for each column: how many bytes, how fast, how long still.
COLUMNS = ((60, 10, "size"), (76, 12, "speed"), (0, 7, "left"))


class Bars:
    """For each file a heading, then one bar for the way to Bucketline and one for each destination.

    A file that has arrived leaves the bars, and is a line for each of its destinations above them.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._progress = _Grid(console=self._console, speed_estimate_period=10, auto_refresh=False)
        self._tasks: dict[tuple[str, str], TaskID] = {}
        # rich draws from several threads without waiting for one another, which leaves old lines on the screen.
        self._drawing = threading.Lock()
        self._closed = threading.Event()
        self._progress.start()
        threading.Thread(target=self._draw, name="bars", daemon=True).start()

    def _draw(self) -> None:
        while not self._closed.wait(DRAW_SECONDS):
            with self._drawing:
                if not self._closed.is_set():
                    self._progress.refresh()

    def _task(self, file: str, place: str, size: int | None) -> TaskID:
        if (file, place) not in self._tasks:
            added = self._progress.add_task(place or "Bucketline", total=size, file=file, note="")
            self._tasks[file, place] = added
        return self._tasks[file, place]

    def sending(self, file: str, size: int | None) -> None:
        self._task(file, "", size)

    def sent(self, file: str, sent: int) -> None:
        # Another file of the same name may have arrived, and have taken its bars along.
        self._progress.update(self._task(file, "", None), completed=sent)

    def accepted(self, file: str, job: Job) -> None:
        if (file, "") in self._tasks:
            self._progress.update(self._tasks[file, ""], completed=job.received, total=job.received)
        self.moved(file, job.size, job.transfers)

    def moved(self, file: str, size: int | None, transfers: list[Transfer]) -> None:
        for transfer in transfers:
            task = self._task(file, transfer.destination, size)
            self._progress.update(task, completed=transfer.sent, total=size, note=trouble(transfer))

    def ended(self, file: str, job: Job) -> None:
        lines = [_fitting(line, file, job, self._console.width) for line in verdict(file, job)]
        with self._drawing:
            for key in [key for key in list(self._tasks) if key[0] == file]:
                self._progress.remove_task(self._tasks.pop(key))
            self._console.print("\n".join(lines), markup=False, highlight=False)

    def close(self) -> None:
        with self._drawing:
            if not self._closed.is_set():
                self._closed.set()
                self._progress.stop()


class _Grid(Progress):
    """The bars of each file below its name. Every line is cut where the terminal ends."""

    def get_renderables(self) -> Iterable[RenderableType]:
        if not self.tasks:  # also while it is being made: then it has no console yet
            return
        width = self.console.width
        room = max(len(task.description) for task in self.tasks) + 4
        label = min(room, max(14, width // 3))
        file = None
        for task in list(self.tasks):
            if task.fields["file"] != file:
                file = task.fields["file"]
                yield Text(_clean(file), style="bold", no_wrap=True, overflow="ellipsis")
            yield _line(task, label, width)
            if note := task.fields["note"]:
                yield Text(f"    {_clean(note)}", style="red", no_wrap=True, overflow="ellipsis")


def _line(task: Task, label: int, width: int) -> Table:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=label, no_wrap=True, overflow="ellipsis")
    grid.add_column(ratio=1)
    grid.add_column(width=5, justify="right", no_wrap=True)
    cells: list[RenderableType] = [
        Text(f"  → {_clean(task.description)}"),
        BarColumn(bar_width=None).render(task),
        Text(f"{task.percentage:.0f} %" if task.total else ""),
    ]
    values = {"size": human_size(task.completed), "speed": _speed(task), "left": _left(task)}
    for least, room, name in COLUMNS:
        if width >= least:
            grid.add_column(width=room, justify="right", no_wrap=True)
            cells.append(Text(values[name], style="dim" if name == "size" else ""))
    grid.add_row(*cells)
    return grid


def _speed(task: Task) -> str:
    speed = task.finished_speed or task.speed
    return f"{human_size(speed)}/s" if speed else ""


def _left(task: Task) -> str:
    if task.finished:
        return "done"
    seconds = task.time_remaining
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 600 else f"{minutes // 60} h"


def _fitting(line: str, file: str, job: Job, width: int) -> str:
    """A line of the verdict; where the terminal is too narrow for an address, the name of the destination instead."""
    line = _clean(line)
    if len(line) <= width:
        return line
    for transfer in job.transfers:
        if transfer.url and line.startswith(f"{_clean(file)} → {_clean(transfer.url)}"):
            told = f" → {transfer.destination} ({line.rpartition(' (')[2]}"
            name = _clean(file)
            room = max(8, width - len(told))
            return (name if len(name) <= room else f"{name[: room - 1]}…") + told
    return line


def _clean(text: str) -> str:
    """A name from outside, fit for a terminal: no control characters."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
