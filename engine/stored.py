"""A source at another destination: an object, pinned by what its store told of it when a worker looked at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NoReturn

import msgspec

from backends.base import Backend, ObjectInfo, ReadsRanges
from backends.errors import BackendError, DestinationMissing, IntegrityError, PermanentError, TransientError
from engine.errors import EngineError, SourceCorrupt
from engine.models import Source


class StoredOrigin:
    """Fits `engine.drawn.Origin`. `backend` gives that of the source's destination, `key` is the full one there."""

    def __init__(self, backend: Callable[[], Backend], key: str, source: Source, size: int | None = None) -> None:
        self._backend = backend
        self._key = key
        self._source = source
        self._size = size

    def read(self, offset: int, size: int) -> Iterator[bytes]:
        """A store's ranges carry no condition: that they were the right ones is known by a look behind each."""
        backend = self._backend()
        if not isinstance(backend, ReadsRanges):
            raise EngineError(f"{self._place} cannot be read in ranges.", code="source_refused")
        try:
            yield from backend.read_range(self._key, offset, size)
        except BackendError as error:
            self._explain(error)
        self.check()

    def check(self) -> None:
        found = self.look()
        if (found.size, *pins_of(found)) != (self._size, *pins_of(self._source)):
            raise SourceCorrupt(f"{self._place} changed after the job was accepted.", code="source_changed")

    def look(self) -> ObjectInfo:
        """What its store tells of it now."""
        try:
            found = self._backend().stat(self._key)
        except TransientError as error:
            raise self._told(error) from error
        except DestinationMissing as error:
            raise EngineError(f"{self._place} is not there: {error.detail}", code="source_missing") from error
        except PermanentError as error:
            raise EngineError(f"{self._place} cannot be looked at: {error.detail}", code="source_refused") from error
        if found is None:
            raise EngineError(f"{self._place} is not there.", code="source_missing")
        return found

    def _explain(self, error: BackendError) -> NoReturn:
        """Why a range could not be read: the object is another one now, or its store has trouble."""
        if isinstance(error, TransientError):
            raise self._told(error) from error
        self.check()
        if isinstance(error, IntegrityError):
            raise TransientError(f"{self._place} could not be read: {error.detail}") from error
        raise EngineError(f"{self._place} cannot be read: {error.detail}", code="source_refused") from error

    def _told(self, error: TransientError) -> TransientError:
        return type(error)(f"{self._place}: {error.detail}", code=error.code, retry_after=error.retry_after)

    @property
    def _place(self) -> str:
        return f"The source {self._source.key!r} at {self._source.destination!r}"


def pins_of(told: ObjectInfo | Source) -> tuple[str, str]:
    """What changes when the object is replaced. File systems put size, time and inode into their etags."""
    return told.etag or "", told.version or ""


def pinned(source: Source, found: ObjectInfo) -> Source:
    """The source as it is from now on."""
    etag, version = pins_of(found)
    told = found.checksum if found.checksum and not found.read_back else ""
    return msgspec.structs.replace(source, seen=True, etag=etag, version=version, checksum=told)
