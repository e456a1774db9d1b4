"""The scripts of `bucketline completion`, asked by the shells themselves."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bucketline.cli import COMMANDS
from bucketline.completion import SHELLS
from tests.command.conftest import Outcome
from tests.panes import pane
from tests.servers import program

Command = Callable[..., Outcome]
# What is typed, and what may stand there.
CASES = [
    ("bucketline ", set(COMMANDS)),
    ("bucketline co", {"copy", "config", "completion"}),
    ("bucketline put --resu", {"--resumable", "--resume"}),
    ("bucketline put --priority ", {"high", "normal", "low"}),
    ("bucketline put --on-conflict r", {"replace", "rename"}),
    ("bucketline copy --detach --priority h", {"high"}),
    ("bucketline jobs ", {"cancel", "pause", "resume", "retry", "forget", "add-destination"}),
    ("bucketline jobs --state can", {"cancelling", "cancelled"}),
    ("bucketline keys ", {"add", "list", "revoke", "export", "import"}),
    ("bucketline init --backend s", {"s3", "sftp", "smb"}),
    ("bucketline init --also-credentials ", {"env", "library"}),
    ("bucketline completion ", set(SHELLS)),
    ("bucketline check --config plug", {"plugins.toml"}),
    ("bucketline put hol", {"holiday.mp4"}),
]
BASH = """
source "$1"
COMP_LINE=$2 COMP_POINT=${#2}
read -ra COMP_WORDS <<< "$2"
[ "${2: -1}" = " " ] && COMP_WORDS+=("")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
function=$(complete -p bucketline | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$function" bucketline "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def scripts(command: Command, tmp_path: Path) -> Path:
    """A directory with the script of each shell, and files to complete."""
    for shell in SHELLS:
        (tmp_path / f"script.{shell}").write_text(command("completion", shell).out)
    for name in ("plugins.toml", "holiday.mp4"):
        (tmp_path / name).touch()
    return tmp_path


def ask(*words: str, cwd: Path) -> list[str]:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "", done.stderr
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_bash(scripts: Path, line: str, expected: set[str]) -> None:
    found = ask(program("bash"), "--norc", "-c", BASH, "bash", "script.bash", line, cwd=scripts)
    assert set(found) == expected


def test_fish(scripts: Path) -> None:
    # One process for all of them: fish takes a while to start.
    asks = "; ".join(f"echo ask; complete -C '{line}'" for line, _ in CASES)
    done = subprocess.run(
        [program("fish"), "--no-config", "-c", f"source script.fish; {asks}"],
        cwd=scripts, env={"HOME": str(scripts), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip
    answers = done.stdout.split("ask\n")[1:]
    for (line, expected), answer in zip(CASES, answers, strict=True):
        assert expected <= {found.partition("\t")[0] for found in answer.splitlines()}, line


ZSH = 'autoload -U compinit; compinit -u -D; eval "$(<script.zsh)"; unsetopt list_ambiguous; clear; echo rea""dy'


def test_zsh(scripts: Path) -> None:
    with pane([program("zsh"), "-f"], cwd=scripts, rows=50) as terminal:
        terminal.type(ZSH)
        terminal.press("Enter")
        terminal.shows("ready")
        for line, expected in CASES:
            terminal.press("C-u", "C-l")
            terminal.type(line)
            terminal.press("Tab")
            for word in sorted(expected):
                terminal.shows(word)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_of_every_command_is_in_it(scripts: Path, shell: str) -> None:
    from bucketline.cli import build

    text = (scripts / f"script.{shell}").read_text()
    for name, parser in build()[1].items():
        assert name in text
        for option in parser._option_string_actions:
            assert (option if shell != "fish" else option.lstrip("-")) in text, option


def test_a_shell_that_is_none_is_exit_code_2(command: Command) -> None:
    done = command("completion", "fisch")
    assert (done.code, done.out) == (2, "")
    assert "did you mean fish?" in done.err


def test_as_json(command: Command) -> None:
    told = json.loads(command("completion", "bash", "--json").out)
    assert told == {"shell": "bash", "script": command("completion", "bash").out}


def test_the_words_are_those_of_the_program(command: Command) -> None:
    """Every word that is offered is one that the command takes."""
    from bucketline.jobs import WORDS
    from bucketline.keys import ACTIONS

    script = command("completion", "bash").out
    for word in (*WORDS, *ACTIONS):
        assert f" {word}" in script or f"({word}" in script or f"'{word}'" in script, word
    assert sys.executable not in script
