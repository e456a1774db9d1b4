"""Words that are nearly right, options that there are not, and what the machine refuses: as they are told to a user."""

import argparse
import contextlib
import difflib
import os
import sys
from collections.abc import Iterable, Sequence

from bucketline.exits import USAGE, Failure

# What everybody else calls it: the letters are nearer to other options.
_MEANT = {"--destination": "--to", "--destinations": "--to"}


def nearest(word: str, words: Iterable[str]) -> str:
    """`; did you mean …?`, or nothing when no word is near."""
    near = difflib.get_close_matches(word, list(words), 1)
    return f"; did you mean {near[0]}?" if near else ""


def must_take(
    words: Sequence[str], parser: argparse.ArgumentParser, name: str, behind: argparse.ArgumentParser | None = None
) -> None:
    """Failure(2) for an option that there is not, before argparse complains of what is missing because of it.

    `behind`: the command that follows, whose options stand too early here.
    """
    known = parser._option_string_actions
    for word in words:
        if word == "--":
            return
        option = word.partition("=")[0]
        if not word.startswith("--") or option in known:
            continue
        if behind is not None and option in behind._option_string_actions:
            raise Failure(USAGE, f"{option} stands behind the command: {behind.prog} {option}")
        meant = _MEANT.get(option, "")
        hint = f"; did you mean {meant}?" if meant in known else nearest(option, known)
        told = f"`{name}` takes no option {option!r}{hint}"
        raise Failure(USAGE, told, f"`{name} --help` shows what it takes")


def refused(error: OSError) -> list[str]:
    """What the machine refuses and nobody foresaw: a disk that is full, a directory that is not ours."""
    close_stdout()
    where = f"{error.filename}: " if error.filename else ""
    return [f"{where}{error.strerror or error}"]


def close_stdout() -> None:
    """Python writes what is left when it ends; nobody is there to read it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
