"""`bucketline completion`: prints what a shell needs to complete our commands, options and files."""

import argparse
from typing import Any

from bucketline.cli import COMMANDS, build
from bucketline.exits import FINE, USAGE, Failure
from bucketline.job_options import CHOICES
from bucketline.places import CREDENTIALS, KINDS
from bucketline.talk import print_json
from bucketline.words import nearest

SHELLS = ("bash", "zsh", "fish")
_FILES = ("files", "config")
_DIRECTORIES = ("data", "root")


def run(arguments: argparse.Namespace) -> int:
    shell = arguments.shell
    if shell not in SHELLS:
        raise Failure(USAGE, f"{shell!r} is none of {', '.join(SHELLS)}{nearest(shell, SHELLS)}")
    script = script_for(shell)
    if arguments.json:
        print_json({"shell": shell, "script": script})
    else:
        print(script, end="")
    return FINE


def script_for(shell: str) -> str:
    """The script, made from the parser: it needs no Python when it completes."""
    import shtab

    parser, commands = build()
    words = _words()
    for command, options in commands.items():
        options.description = COMMANDS[command][1]  # stands beside the command in a list: one line of it
        for action in options._actions:
            _mark(action, words.get((command, action.dest), ()), shtab)
    text: str = shtab.complete(parser, shell, root_prefix="bucketline")
    return text.rstrip("\n") + "\n"


def _mark(action: argparse.Action, words: tuple[str, ...], shtab: Any) -> None:
    """Tell shtab what may stand there. This parser is never used to parse: its choices refuse nobody."""
    if action.dest in _FILES:
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    elif action.dest in _DIRECTORIES:
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    elif words:
        action.choices = words


def _words() -> dict[tuple[str, str], tuple[str, ...]]:
    """What may stand at an argument, where the parser itself does not say."""
    from bucketline.jobs import WORDS
    from bucketline.keys import ACTIONS
    from engine.models import JOB_TRANSITIONS

    found: dict[tuple[str, str], tuple[str, ...]] = {
        ("jobs", "words"): WORDS,
        ("jobs", "state"): tuple(JOB_TRANSITIONS),
        ("keys", "action"): ACTIONS,
        ("keys", "scope"): ("submit", "read", "control", "admin"),
        ("completion", "shell"): SHELLS,
    }
    found |= {(command, name): words for command in ("put", "copy") for name, words in CHOICES.items()}
    for prefix in ("", "also_"):
        found[("init", f"{prefix}backend")] = tuple(KINDS)
        found[("init", f"{prefix}credentials")] = CREDENTIALS
    return found
