"""plugins.toml as the settings name it, read again when it changes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TypeAlias

import structlog

from backends.config import Configuration, ConfigurationError, load
from engine.config import Settings

log = structlog.get_logger("bucketline.plugins")

LOOK_SECONDS = 1.0

Stamp: TypeAlias = tuple[tuple[int, int, int] | None, ...]
"""Time of change, size and inode of each file that the configuration was read from; None for one that is not there."""


def configuration_of(settings: Settings) -> Configuration:
    """The destinations and routes; ConfigurationError with every fault of the file.

    Without a plugins.toml there is one destination `local`, below the data directory.
    """
    if settings.config_path is None:
        return Configuration.local(settings.data / "objects")
    return load(settings.config_path, reserved={"the spool": settings.spool})


class PluginsFile:
    """The configuration in force. A file that cannot be used is told about once, and the last good one stays.

    Safe for threads. Whoever keeps something made from `current` asks `refresh` whether it is still the one.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self.fault: str | None = None
        """What is wrong with the file as it is now, when it is not the one in force."""
        self._told: str | None = None
        self.current = configuration_of(settings)
        self._files = self.current.files
        self._stamp = self._seen = self._look()

    def refresh(self, *, settled: bool = False) -> bool:
        """Reads the file again if it was changed; whether another configuration is in force now.

        settled: only when it is as it was at the last look, so that no half-written file is read.
        """
        with self._lock:
            before, self._seen = self._seen, self._look()
            if self._seen == self._stamp or (settled and self._seen != before):
                return False
            self._stamp = self._seen
            try:
                self.current = configuration_of(self._settings)
            except ConfigurationError as error:
                self._refuse(error)
                return False
            self._files = self.current.files
            self._stamp = self._seen = self._look()  # other files may belong to it now
            self.fault = self._told = None
            log.info("plugins.toml was changed and is in force", destinations=sorted(self.current.destinations))
            return True

    def _refuse(self, error: ConfigurationError) -> None:
        files = tuple(dict.fromkeys([*self.current.files, *error.files]))
        if files != self._files:
            # It may be there before the secrets that it names. One more reading: they may have come during this one.
            self._files, self._stamp = files, ()
            self._seen = self._look()
        if str(error) != self._told:
            log.error("plugins.toml was changed and cannot be used; the last good one stays", faults=str(error))
        self.fault, self._told = str(error.faults[0]), str(error)

    def _look(self) -> Stamp:
        if self._settings.config_path is None:
            return ()
        return tuple(_stamp(path) for path in (self._settings.config_path, *self._files))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
