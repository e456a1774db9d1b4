"""`bucketline init` writes a plugins.toml that its reader accepts, from options or by asking, and proves it."""

import io
import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.config import load
from bucketline.places import CREDENTIALS, FIELDS, KINDS
from tests import servers
from tests.command.conftest import Outcome

Command = Callable[..., Outcome]
# One answer for each question that has no default.
NEEDED = {"bucket": "acme", "account": "acmefiles"}


def needed(kind: str, prefix: str = "") -> list[str]:
    """The options without which the kind cannot be written."""
    asks = KINDS[kind].asks
    given = {**NEEDED, "url": KINDS[kind].example.replace("abc:", "memory:")}
    words = [(f"--{prefix}{name}", given[name]) for name, default in asks.items() if default is None]
    return [word for pair in words for word in pair]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What somebody types on the terminal."""

    def type_in(*lines: str) -> None:
        monkeypatch.setattr(sys, "stdin", Terminal("".join(f"{line}\n" for line in lines)))

    return type_in


# -- by options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("credentials", CREDENTIALS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_of_every_kind_is_read(command: Command, tmp_path: Path, kind: str, credentials: str) -> None:
    how = ["--credentials", credentials] if "credentials" in KINDS[kind].asks else []
    done = command("init", "--backend", kind, *needed(kind), *how, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["file"] == str(tmp_path / "plugins.toml")
    (name,) = told["destinations"]
    found = load(tmp_path / "plugins.toml", dict.fromkeys(told["variables"], "x"))
    assert found.default == name
    assert found.destinations[name].backend == (KINDS[kind].backend or kind)
    assert bool(told["variables"]) == (bool(how) and credentials == "env")
    for variable in told["variables"]:
        assert variable in done.err


@pytest.mark.parametrize("kind", KINDS)
def test_every_line_that_is_commented_out_can_be_used(command: Command, tmp_path: Path, kind: str) -> None:
    assert command("init", "--backend", kind, *needed(kind)).code == 0
    text = (tmp_path / "plugins.toml").read_text()
    head, table = text.split("[destinations", 1)
    opened = table.replace("\n# ", "\n").replace('"${NAME}"', '"x"')
    servers.write_private(tmp_path / "opened.toml", f"{head}[destinations{opened}")
    environ = dict.fromkeys(set(_variables(opened)), "x")
    assert load(tmp_path / "opened.toml", environ).destinations


def _variables(text: str) -> list[str]:
    return [piece.partition("}")[0] for piece in text.split("${")[1:]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_place_gets_every_file_and_has_secrets_of_its_own(command: Command, tmp_path: Path, kind: str) -> None:
    first = ["--backend", kind, *needed(kind)]
    done = command("init", *first, "--also-backend", kind, *needed(kind, "also-"), "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    found = load(tmp_path / "plugins.toml", dict.fromkeys(told["variables"], "x"))
    assert found.default == "everywhere"
    assert found.routes == {"everywhere": told["destinations"]}
    assert len(set(told["destinations"])) == 2
    assert len(told["variables"]) % 2 == 0


def test_every_question_has_an_option_for_both_places(process: Callable[..., Outcome]) -> None:
    told = process("init", "--help").out
    for field in ("backend", *(field.option for field in FIELDS)):
        assert f"--{field} " in told
        assert f"--also-{field} " in told


def test_the_file_is_for_this_user_only(command: Command, tmp_path: Path) -> None:
    assert command("init", "--yes").code == 0
    assert stat.S_IMODE((tmp_path / "plugins.toml").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["plugins.toml"]


def test_nothing_is_written_over_unless_told_to(command: Command, tmp_path: Path) -> None:
    (tmp_path / "plugins.toml").write_text("mine")
    done = command("init", "--yes")
    assert done.code == 2
    assert "is there already" in done.err
    assert "--force" in done.err
    assert (tmp_path / "plugins.toml").read_text() == "mine"
    assert command("init", "--yes", "--force").code == 0
    assert load(tmp_path / "plugins.toml").default == "media"


def test_a_link_that_leads_nowhere_is_there_too(command: Command, tmp_path: Path) -> None:
    (tmp_path / "plugins.toml").symlink_to("nowhere")
    assert command("init", "--yes").code == 2
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "there is no terminal to ask on"),
        (["--backend", "lokal"], "did you mean local?"),
        (["--backend", "s3"], "--bucket is missing"),
        (["--backend", "s3", "--bucket", "x"], "`bucket` is not a bucket's name"),
        (["--backend", "local", "--bucket", "acme"], "--bucket is not for local"),
        (["--backend", "local", "--root", "var/spool"], "lies in the spool"),
        (["--backend", "local", "--root", "a\nb"], "cannot be printed"),
        (["--backend", "s3", "--bucket", "acme", "--endpoint", "ftp://x"], "`endpoint_url` is"),
        (["--backend", "gcs", "--bucket", "acme", "--credentials", "enw"], "did you mean env?"),
        (["--backend", "sftp", "--url", "https://x.test/y"], "can only be read"),
        (["--backend", "local", "--name", "no name"], "a name has 1 to 64 letters"),
        (["--yes", "--also-backend", "s3"], "--also-bucket is missing"),
        (["--yes", "--also-backend", "local", "--also-name", "media"], "the same name"),
        (["--yes", "--config", "."], "is a directory"),
    ],
)
def test_a_mistake_is_exit_code_2_and_nothing_is_written(
    command: Command, tmp_path: Path, words: list[str], expected: str
) -> None:
    done = command("init", *words)
    assert done.code == 2
    assert expected in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_is_exit_code_78(command: Command) -> None:
    done = command("init", "--yes", "--config", "nowhere/plugins.toml")
    assert done.code == 78
    assert "nowhere cannot be written: No such file or directory" in done.err


def test_texts_with_quotes_and_signs_are_written_as_they_are(command: Command, tmp_path: Path) -> None:
    assert command("init", "--backend", "local", "--root", 'ein "Ördner"\\x', "--prefix", "ü/").code == 0
    media = load(tmp_path / "plugins.toml").destinations["media"]
    assert media.options.root == tmp_path / 'ein "Ördner"\\x'
    assert media.prefix == "ü/"


# -- by asking ------------------------------------------------------------------------------------------------------


def test_by_asking(command: Command, answers: Callable[..., None], tmp_path: Path) -> None:
    answers("loal", "2", "store", "", "acme", "", "", "library", "up/", "yes", "local", "", "objects", "", "no")
    done = command("init")
    assert done.code == 0, done.err
    assert "did you mean local?" in done.err
    found = load(tmp_path / "plugins.toml", {})
    assert found.routes == {"everywhere": ["store", "media"]}
    assert found.destinations["store"].prefix == "up/"
    assert found.destinations["media"].options.root == tmp_path / "objects"
    assert done.out == ""


def test_what_options_say_is_not_asked(command: Command, answers: Callable[..., None], tmp_path: Path) -> None:
    answers("", "", "no", "no")
    done = command("init", "--backend", "local", "--root", "here")
    assert done.code == 0, done.err
    assert "Which directory" not in done.err
    assert load(tmp_path / "plugins.toml").destinations["media"].options.root == tmp_path / "here"


def test_answers_that_do_not_fit_are_asked_again(
    command: Command, answers: Callable[..., None], tmp_path: Path
) -> None:
    answers("s3", "", "x", "", "", "library", "", "", "acme", "", "", "", "", "no", "no")
    done = command("init")
    assert done.code == 0, done.err
    assert "`bucket` is not a bucket's name" in done.err
    assert "[library]" in done.err
    assert load(tmp_path / "plugins.toml", {}).destinations["archive"].options.bucket == "acme"


def test_when_the_answers_end_nothing_is_written(
    command: Command, answers: Callable[..., None], tmp_path: Path
) -> None:
    answers("s3", "")
    done = command("init")
    assert done.code == 2
    assert "nothing was written" in done.err
    assert list(tmp_path.iterdir()) == []


# -- and proving it -------------------------------------------------------------------------------------------------


def test_a_local_place_is_proven_when_wanted(command: Command, answers: Callable[..., None]) -> None:
    answers("local", "", "", "", "no", "yes")
    done = command("init")
    assert done.code == 0, done.err
    assert done.out.splitlines()[1].split()[:3] == ["media", "local", "ok"]


def test_a_real_s3_server_is_proven(
    command: Command, rclone_s3: servers.S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = rclone_s3.make_bucket("initiated")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", rclone_s3.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", rclone_s3.secret)
    where = ["--backend", "s3", "--bucket", bucket, "--endpoint", rclone_s3.endpoint_url, "--region", "us-east-1"]
    done = command("init", *where, "--check", "--json")
    assert done.code == 0, done.out + done.err
    written, checked = map(json.loads, done.out.splitlines())
    assert written["variables"] == {"AWS_ACCESS_KEY_ID": True, "AWS_SECRET_ACCESS_KEY": True}
    assert checked["ok"] is True
    assert rclone_s3.secret not in Path("plugins.toml").read_text()


def test_what_does_not_work_is_exit_code_1(
    command: Command, rclone_s3: servers.S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", rclone_s3.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", rclone_s3.secret)
    where = ["--backend", "s3", "--bucket", "never-made", "--endpoint", rclone_s3.endpoint_url]
    done = command("init", *where, "--check")
    assert done.code == 1
    assert "FAILED" in done.out
