"""Terminals for tests: a command in a pane of tmux, and what a user would see there."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers import eventually, program, tied

_OURS = ("TMUX", "NO_COLOR", "COLUMNS", "LINES")  # what the terminal says of itself counts, not what a test runner says
# Ctrl-C is for the command alone.
_THEN_STAY = 'trap : INT; "$@"; echo "exit code $?"; exec sleep 600'


class Pane:
    """One terminal of a fixed size."""

    def __init__(self, tmux: list[str], columns: int) -> None:
        self._tmux = tmux
        self.columns = columns

    def lines(self) -> list[str]:
        """What is on the screen now, without spaces at the ends of lines."""
        shown = self._ask("capture-pane", "-p", "-t", "it")
        return [line.rstrip() for line in shown.rstrip("\n").split("\n")]

    def whole(self) -> list[str]:
        """The same with what has left the screen, and with lines put together that had to be wrapped."""
        return [line.rstrip() for line in self._ask("capture-pane", "-p", "-J", "-S", "-", "-t", "it").split("\n")]

    def with_colours(self) -> str:
        """The screen with its escape codes."""
        return self._ask("capture-pane", "-p", "-e", "-t", "it")

    def type(self, text: str) -> None:
        self._ask("send-keys", "-t", "it", "-l", text)

    def press(self, *keys: str) -> None:
        """Keys by their names: `Enter`, `Tab`, `C-c`."""
        self._ask("send-keys", "-t", "it", *keys)

    def shows(self, text: str, seconds: float = 30) -> list[str]:
        """Wait until the text is on the screen; the lines that are there then."""
        seen: list[str] = []

        def there() -> bool:
            seen[:] = self.lines()
            return any(text in line for line in seen)

        try:
            eventually(there, f"the terminal shows {text!r}", seconds)
        except BaseException:
            print("\n".join(seen))
            raise
        return seen

    def _ask(self, *words: str) -> str:
        done = subprocess.run([*self._tmux, *words], capture_output=True, text=True, timeout=30, check=True)
        return done.stdout


@contextlib.contextmanager
def pane(
    command: list[str], columns: int = 100, rows: int = 30, cwd: Path | None = None, **environ: str
) -> Iterator[Pane]:
    """The command in a terminal of its own until the end of the block. When it has ended, its exit code is shown."""
    with tempfile.TemporaryDirectory(prefix="pane-") as directory:  # a short path: sockets have no long ones
        tmux = [program("tmux"), "-u", "-f", os.devnull, "-S", f"{directory}/socket"]
        surroundings = {key: value for key, value in os.environ.items() if key not in _OURS}
        surroundings |= {"LC_ALL": "C.UTF-8", "TERM": "xterm-256color", **environ}
        server = subprocess.Popen(tied([*tmux, "-D"]), env=surroundings, stdin=subprocess.DEVNULL)
        try:
            eventually(lambda: os.path.exists(f"{directory}/socket"), "tmux listens")
            settings = [
                "set",
                "-g",
                "remain-on-exit",
                "on",
                ";",
                "set",
                "-g",
                "default-terminal",
                "screen-256color",
                ";",
            ]
            size = ["-x", str(columns), "-y", str(rows), "-c", str(cwd or directory)]
            start = [*settings, "new-session", "-d", "-s", "it", *size, "--", "sh", "-c", _THEN_STAY, "sh", *command]
            subprocess.run([*tmux, *start], env=surroundings, check=True, timeout=30)
            yield Pane(tmux, columns)
        finally:
            subprocess.run([*tmux, "kill-server"], stderr=subprocess.DEVNULL, check=False, timeout=30)
            server.wait(10)
