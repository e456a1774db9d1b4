"""The options of the commands that make jobs: how they are written, and what they say to the client."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, cast

from bucketline.exits import USAGE, Failure

if TYPE_CHECKING:
    from bucketline.sending import Options

# Properties of an object, where its store has them, each with an example.
PROPERTIES = {
    "content-disposition": "attachment",
    "cache-control": "max-age=3600",
    "storage-class": "STANDARD_IA",
    "acl": "public-read",
    "encryption": "aws:kms",
}

# What these options may say.
CHOICES = {"on_conflict": ("replace", "fail", "rename", "skip_same"), "priority": ("high", "normal", "low")}

# Options that are one text each, and what they are for.
TEXTS = {
    "key": ("TEXT", "the object's key (one file only)"),
    "key-template": ("TEXT", "a key for each file, for example {yyyy}/{mm}/{id}/{name}"),
    "name": ("TEXT", "the file's name, where it differs (one file only)"),
    "content-type": ("TYPE", "media type (default: guessed from the name)"),
    **{name: ("TEXT", f"how the object is stored, for example {example}") for name, example in PROPERTIES.items()},
    "on-conflict": ("HOW", "replace, fail, rename or skip_same, when the key exists"),
    "checksum": ("TEXT", "what the file must have, as sha256:HEX or crc32c:BASE64 (one file only)"),
    "priority": ("HOW", "high, normal or low, among the jobs that wait"),
    "webhook": ("URL", "who is told when the job ends"),
    "on-success": ("NAME", "the actor in plugins.toml that is told when it succeeds"),
    "on-failure": ("NAME", "the actor that is told of any other end"),
}


def number(text: str) -> int:
    """For argparse: a whole number."""
    if not re.fullmatch(r"-?[0-9]{1,12}", text):  # what is too small, the one who uses it says
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number; it takes one such as 20")
    return int(text)


def seconds(text: str) -> float:
    """For argparse: seconds to wait."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds; it takes one such as 60")
    return found


def add(parser: argparse.ArgumentParser) -> None:
    """The options that every new job may have."""
    to = "destination or route; may be given several times"
    parser.add_argument("--to", action="append", default=[], metavar="NAME", help=to)
    for name, (kind, text) in TEXTS.items():
        parser.add_argument(f"--{name}", metavar=kind, help=text)
    for name, of in (
        ("metadata", "metadata of the object"),
        ("tag", "tag of the object"),
        ("label", "label of the job"),
    ):
        parser.add_argument(f"--{name}", action="append", metavar="K=V", default=[], help=f"{of}; repeatable")
    parser.add_argument("--retain-seconds", type=number, metavar="N", help="how long the finished job is remembered")
    parser.add_argument(
        "--idempotency-key", metavar="TEXT", help="the same for the same file makes no second job; for example a UUID"
    )
    parser.add_argument("--detach", action="store_true", help="do not wait until the file has arrived")


def add_put(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Sends files, and watches them arrive at their destinations. With --resumable a file goes in chunks, through "
        "broken connections and restarts of the server; what stops all the same, says how to go on."
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file, or - for standard input")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--resumable", action="store_true", help="send in chunks that survive a break")
    how.add_argument("--resume", metavar="URL", help="go on with what --resumable began, where it stopped")
    parser.add_argument(
        "--patience", type=seconds, default=60.0, metavar="SECONDS",
        help="how long --resumable and --resume wait for a server that is away (default: %(default)g)",
    )  # fmt: skip
    add(parser)


def add_copy(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Has the server carry files that need not be sent to it: objects of its destinations, files of web servers, "
        "and files that it can read itself."
    )
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="DESTINATION:KEY, http(s)://…, or an absolute path on the server"
    )
    parser.add_argument("--credentials", metavar="NAME", help="headers for URLs that the server's plugins.toml has")
    add(parser)


def values(arguments: argparse.Namespace) -> Options:
    """What the options say, as the client takes it."""
    given = {name.replace("-", "_"): getattr(arguments, name.replace("-", "_")) for name in TEXTS}
    given |= {
        "destinations": [name for names in arguments.to for name in names.split(",") if name],
        "metadata": pairs(arguments.metadata, "--metadata"),
        "labels": pairs(arguments.label, "--label"),
        "tags": pairs(arguments.tag, "--tag"),
        "retain_seconds": arguments.retain_seconds,
    }
    return cast("Options", given)


def check_for_one(arguments: argparse.Namespace, count: int) -> None:
    """Failure(2) when several files are to have what only one can."""
    if count > 1 and (arguments.key or arguments.name):
        raise Failure(USAGE, "--key and --name are for one file; with several, each is named after itself")
    for option in ("checksum", "idempotency_key"):
        if count > 1 and getattr(arguments, option) is not None:
            raise Failure(USAGE, f"--{option.replace('_', '-')} is for one file")


def given(arguments: argparse.Namespace) -> list[str]:
    """The options of the job that were given."""
    names = [*TEXTS, "to", "metadata", "tag", "label", "retain-seconds", "idempotency-key"]
    return [f"--{name}" for name in names if getattr(arguments, name.replace("-", "_")) not in (None, [])]


def pairs(words: list[str], option: str) -> dict[str, str]:
    """`K=V` words as a mapping; Failure(2) for anything else."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise Failure(USAGE, f"{option} takes K=V, not {word!r}")
        found[key] = value
    return found
