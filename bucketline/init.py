"""`bucketline init`: asks where files shall go, and writes a plugins.toml that says so."""

import argparse
import contextlib
import errno
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from backends.config import ConfigurationError, load
from bucketline.asking import Asker
from bucketline.cli import say, settings_for
from bucketline.exits import CONFIGURATION, FINE, USAGE, Failure
from bucketline.places import FIELDS, Place, document
from bucketline.talk import print_json
from engine.config import Settings

ALSO = "also_"


def run(arguments: argparse.Namespace) -> int:
    asks = sys.stdin.isatty() and not arguments.yes and not arguments.json
    target = Path(arguments.config or os.environ.get("BUCKETLINE_CONFIG") or "plugins.toml").expanduser().absolute()
    if not asks and not arguments.yes and arguments.backend is None:
        raise Failure(
            USAGE,
            "there is no terminal to ask on",
            "answer by options: --backend local --root DIR, or --backend s3 --bucket NAME --endpoint URL, …; or --yes",
            "`bucketline init --help` lists them",
        )
    _must_be_free(target, force=arguments.force)
    # plugins.toml is what is being made: the one that is there, or not there yet, need not be usable.
    settings = settings_for(argparse.Namespace(data=arguments.data))
    places = _places(arguments, Asker(asks), target, settings)
    _write(target, document(places), force=arguments.force)
    return _finish(arguments, target, places, asks=asks)


def _places(arguments: argparse.Namespace, asker: Asker, target: Path, settings: Settings) -> list[Place]:
    """The one or two destinations, each accepted by the reader of plugins.toml."""
    first = asker.place(_answers(arguments, ""), lambda place: _faults(target, [place], settings))
    places = [first]
    further = _answers(arguments, ALSO)
    if further or asker.yes("Shall every file go to a second place, too?", default=False):
        taken = first.name

        def faults(place: Place) -> list[str]:
            return _faults(target, [first, place], settings)

        places.append(asker.place(further, faults, taken=taken, prefix="also-"))
    return places


def _answers(arguments: argparse.Namespace, prefix: str) -> dict[str, str]:
    """What the options say, by the name of the question."""
    words = ["backend", *(field.option for field in FIELDS)]
    return {word: value for word in words if (value := getattr(arguments, prefix + word)) is not None}


def _must_be_free(target: Path, *, force: bool) -> None:
    if target.is_dir():
        raise Failure(USAGE, f"{target} is a directory", "--config names the file to write")
    if not force and os.path.lexists(target):
        raise Failure(USAGE, f"{target} is there already", "--force writes over it; --config names another file")


def _faults(target: Path, places: list[Place], settings: Settings) -> list[str]:
    """What the reader of plugins.toml would say of it. Variables that we name need not be set yet."""
    ours = {name: "x" for place in places for name in place.variables}
    with _beside(target, document(places)) as path:
        try:
            load(path, {**ours, **os.environ}, reserved={"the spool": settings.spool})
        except ConfigurationError as error:
            return [str(fault).replace(f"{path}: ", "") for fault in error.faults]
    return []


@contextlib.contextmanager
def _beside(target: Path, text: str) -> Iterator[Path]:
    """A file with this text in the same directory, for this user only, gone at the end if it is still there."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise Failure(CONFIGURATION, f"{target.parent} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        yield Path(name)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _write(target: Path, text: str, *, force: bool) -> None:
    """All of the file or nothing, with mode 0600; never over another one unless told to."""
    with _beside(target, text) as path:
        try:
            if force:
                os.replace(path, target)
            else:
                _put_where_nothing_is(path, target)
        except FileExistsError:
            _must_be_free(target, force=force)
        except OSError as error:
            raise Failure(CONFIGURATION, f"{target} cannot be written: {error.strerror}") from None


def _put_where_nothing_is(path: Path, target: Path) -> None:
    try:
        os.link(path, target)  # fails when somebody was faster
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP):  # a file system without hard links
            raise
        os.replace(path, target)


def _finish(arguments: argparse.Namespace, target: Path, places: list[Place], *, asks: bool) -> int:
    variables = {name: name in os.environ for place in places for name in place.variables}
    missing = [name for name, there in variables.items() if not there]
    if arguments.json:
        names = [place.name for place in places]
        print_json({"file": str(target), "destinations": names, "variables": variables})
    else:
        say(f"wrote {target}")
    if missing:
        say(f"set {' and '.join(missing)}, then `bucketline check` proves it")
        return FINE
    if arguments.check or (asks and Asker(asks).yes("Prove it now, by a real write, read and delete?", default=True)):
        from bucketline import check

        return check.run(_checked(arguments, target))
    return FINE


def _checked(arguments: argparse.Namespace, target: Path) -> argparse.Namespace:
    same: Mapping[str, object] = {"json": arguments.json, "data": arguments.data}
    return argparse.Namespace(names=[], config=str(target), **same)
