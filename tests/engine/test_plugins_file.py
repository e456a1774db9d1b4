"""plugins.toml in force: read again when it changes, never half, and never a broken one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backends.config import ConfigurationError
from engine.config import Settings
from engine.plugins_file import PluginsFile

ONE = '[destinations.one]\nbackend = "memory"\n'
TWO = '[destinations.two]\nbackend = "memory"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "plugins.toml"
    path.write_text(ONE)
    path.chmod(0o600)
    return path


def plugins_at(path: Path | None, data: Path) -> PluginsFile:
    return PluginsFile(Settings(data=data, spool=data / "spool", node="n1", config_path=path))


def names(plugins: PluginsFile) -> list[str]:
    return sorted(plugins.current.destinations)


def test_a_change_is_in_force_when_it_is_noticed(path: Path, tmp_path: Path) -> None:
    plugins = plugins_at(path, tmp_path)
    assert not plugins.refresh()

    path.write_text(TWO)

    assert plugins.refresh()
    assert names(plugins) == ["two"]
    assert not plugins.refresh()


def test_a_file_that_is_still_being_written_waits(path: Path, tmp_path: Path) -> None:
    plugins = plugins_at(path, tmp_path)
    path.write_text(TWO)
    assert not plugins.refresh(settled=True)
    path.write_text('default = "one"\n' + ONE + TWO)
    assert not plugins.refresh(settled=True)
    assert plugins.refresh(settled=True)
    assert names(plugins) == ["one", "two"]


def test_a_broken_file_is_told_about_and_the_last_good_one_stays(path: Path, tmp_path: Path) -> None:
    plugins = plugins_at(path, tmp_path)
    path.write_text('[destinations.one]\nbackend = "memroy"')

    assert not plugins.refresh()
    assert names(plugins) == ["one"]
    assert plugins.fault is not None and "did you mean 'memory'?" in plugins.fault

    path.write_text(TWO)
    assert plugins.refresh()
    assert (names(plugins), plugins.fault) == (["two"], None)


def test_a_file_that_goes_away_and_comes_back(path: Path, tmp_path: Path) -> None:
    plugins = plugins_at(path, tmp_path)
    path.rename(tmp_path / "aside")
    assert not plugins.refresh()
    assert names(plugins) == ["one"] and plugins.fault is not None
    (tmp_path / "aside").rename(path)
    assert plugins.refresh()
    assert plugins.fault is None


def test_a_file_that_is_broken_at_the_start_is_refused(path: Path, tmp_path: Path) -> None:
    path.write_text("nonsense")
    with pytest.raises(ConfigurationError):
        plugins_at(path, tmp_path)


def test_without_a_file_nothing_ever_changes(tmp_path: Path) -> None:
    plugins = plugins_at(None, tmp_path)
    assert names(plugins) == ["local"]
    assert not plugins.refresh()


def test_a_secret_that_is_written_behind_the_file_that_names_it_ends_the_fault(path: Path, tmp_path: Path) -> None:
    plugins = plugins_at(path, tmp_path)
    path.write_text('[destinations.two]\nbackend = "s3"\nbucket = "bbb"\nkey_file = "key"\nsecret_file = "secret"\n')
    for _ in range(3):
        assert not plugins.refresh(settled=True)
    assert names(plugins) == ["one"] and plugins.fault is not None

    (tmp_path / "key").write_text("key\n")
    (tmp_path / "secret").write_text("secret\n")

    assert any(plugins.refresh(settled=True) for _ in range(3))
    assert (names(plugins), plugins.fault) == (["two"], None)


def test_a_secret_in_a_file_of_its_own_is_followed_too(path: Path, tmp_path: Path) -> None:
    """As container runtimes hand secrets over, and exchange them."""
    secret = tmp_path / "secret"
    secret.write_text("first\n")
    path.write_text('[destinations.one]\nbackend = "s3"\nbucket = "bbb"\nkey = "${K}"\nsecret_file = "secret"\n')
    os.environ["K"] = "key"
    try:
        plugins = plugins_at(path, tmp_path)
        assert plugins.current.destinations["one"].options.secret == "first"  # type: ignore[attr-defined]
        before = plugins.current.destinations["one"].fingerprint
        secret.write_text("second\n")
        assert plugins.refresh()
        assert plugins.current.destinations["one"].options.secret == "second"  # type: ignore[attr-defined]
        assert plugins.current.destinations["one"].fingerprint == before, "a new key is no new place"
    finally:
        del os.environ["K"]
