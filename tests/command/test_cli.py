"""The command line itself: words, options, exit codes, and running beside a user's own folders."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import bucketline
from bucketline.cli import COMMANDS
from tests.command.conftest import Outcome

Command = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ups"], "there is no command 'ups'; did you mean up?"),
        (["upload"], "there is no command 'upload'"),
        ([], "COMMAND"),
        (["up", "--prot", "1"], "did you mean --port?"),
        (["up", "--port", "high"], "'high' is not a port"),
        (["up", "--port", "70000"], "up to 65535"),
        (["up", "extra"], "takes no argument 'extra'"),
        (["worker", "--proceses", "2"], "did you mean --processes?"),
    ],
)
def test_a_users_mistake_is_two_lines_and_exit_code_2(command: Command, words: list[str], expected: str) -> None:
    done = command(*words)
    assert done.code == 2
    assert done.err.startswith("bucketline: ")
    assert expected in done.err
    assert len(done.err.splitlines()) == 2
    assert done.out == ""


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_documents_every_command(process: Callable[..., Outcome], name: str) -> None:
    done = process(*([name] if name else []), "--help")
    assert done.code == 0
    assert "usage: bucketline" in done.out
    if not name:
        assert all(command in done.out for command in COMMANDS)
        assert "69 server unreachable" in done.out


def test_the_version(process: Callable[..., Outcome]) -> None:
    assert process("--version").out == f"bucketline {bucketline.__version__}\n"


@pytest.mark.parametrize("name", ["api", "worker", "recover"])
def test_a_service_without_redis_says_what_is_missing(command: Command, name: str) -> None:
    done = command(name)
    assert done.code == 78
    assert "BUCKETLINE_REDIS_URL is not set" in done.err


def test_a_bad_setting_is_exit_code_78_and_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKETLINE_LEASE_SECONDS", "soon")
    done = command("up")
    assert done.code == 78
    assert "BUCKETLINE_LEASE_SECONDS takes a whole number" in done.err


def test_a_mistyped_setting_is_a_warning(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKETLINE_REDIS_ULR", "redis://x")
    assert "did you mean BUCKETLINE_REDIS_URL?" in command("worker").err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_other_machines_need_a_key(command: Command, host: str) -> None:
    done = command("up", "--host", host)
    assert done.code == 78
    assert f"--host {host} opens the API to other machines, which needs BUCKETLINE_API_KEY" in done.err


def test_a_command_whose_reader_has_seen_enough_ends_quietly(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m bucketline --help | head -n 1"
    done = subprocess.run(shell, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""


# -- beside a user's own folders ------------------------------------------------------------------------------------


@pytest.fixture
def users_project(tmp_path: Path) -> Path:
    """A directory as many users have it, with packages of the very names of ours, that must not be imported."""
    project = tmp_path / "project"
    for name in ("api", "engine", "backends"):
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text("raise SystemExit('the user\\'s own package was imported')\n")
    for name in ("config", "server", "worker"):
        (project / f"{name}.py").write_text("raise SystemExit('the user\\'s own module was imported')\n")
    return project


@pytest.mark.parametrize("words", [["worker"], ["api"], ["check", "nope"], ["recover"], ["put", "x"]])
def test_python_m_bucketline_does_not_import_the_users_packages(
    process: Callable[..., Outcome], users_project: Path, words: list[str]
) -> None:
    done = process(*words, cwd=users_project)
    assert "was imported" not in done.err
    assert done.code in (2, 78)


def test_from_the_place_where_it_lives_it_is_found_too(process: Callable[..., Outcome]) -> None:
    home = Path(bucketline.__file__).parent.parent
    assert process("--version", cwd=home).code == 0
