"""What the environment and the command line say is read once, checked, and refused with a text that helps."""

import os
from pathlib import Path

import pytest

from engine.config import Settings, SettingsError, next_database, without_password


def faults(environ: dict[str, str], **overrides: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environ, **overrides)
    return caught.value.faults


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_empty_environment_gives_settings_that_work(empty_directory: Path) -> None:
    settings = Settings.from_env({})
    assert settings.data == empty_directory / "var"
    assert settings.spool == empty_directory / "var" / "spool"
    assert settings.config_path is None
    assert settings.redis_url == ""
    assert settings.broker_url == ""
    assert settings.api_key is None
    assert settings.lease_seconds == 30
    assert settings.retain_seconds == 604_800
    assert settings.keep_failed_seconds == 86_400
    assert settings.durability == "fsync"
    assert settings.node
    assert settings.warnings == ()


def test_a_plugins_file_in_the_working_directory_is_found(empty_directory: Path) -> None:
    (empty_directory / "plugins.toml").write_text("")
    assert Settings.from_env({}).config_path == empty_directory / "plugins.toml"


def test_a_named_configuration_is_kept_even_when_it_does_not_exist_so_that_its_absence_is_reported() -> None:
    assert Settings.from_env({"BUCKETLINE_CONFIG": "/nowhere/p.toml"}).config_path == Path("/nowhere/p.toml")


def test_the_spool_follows_the_data_directory() -> None:
    assert Settings.from_env({"BUCKETLINE_DATA": "/srv/line"}).spool == Path("/srv/line/spool")
    assert Settings.from_env({"BUCKETLINE_DATA": "/srv/line", "BUCKETLINE_SPOOL": "/fast"}).spool == Path("/fast")


def test_an_option_wins_over_its_variable_and_none_means_not_given() -> None:
    environ = {"BUCKETLINE_THREADS": "3", "BUCKETLINE_PROCESSES": "2"}
    settings = Settings.from_env(environ, threads=5, processes=None)
    assert (settings.threads, settings.processes) == (5, 2)


def test_an_empty_variable_is_an_unset_one() -> None:
    assert Settings.from_env({"BUCKETLINE_API_KEY": "", "BUCKETLINE_SPOOL_LIMIT": ""}).api_key is None


def test_the_token_of_the_client_defaults_to_the_api_key() -> None:
    assert Settings.from_env({"BUCKETLINE_API_KEY": "k"}).token == "k"
    assert Settings.from_env({"BUCKETLINE_API_KEY": "k", "BUCKETLINE_TOKEN": "t"}).token == "t"


@pytest.mark.parametrize(
    ("ledger", "broker"),
    [
        ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379/1"),
        ("redis://127.0.0.1:6379/", "redis://127.0.0.1:6379/1"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/1"),
        ("rediss://u:p@h:1/7?ssl_cert_reqs=none", "rediss://u:p@h:1/8?ssl_cert_reqs=none"),
        ("redis://h?db=4", "redis://h?db=5"),
        ("unix:///run/valkey.sock", "unix:///run/valkey.sock?db=1"),
        ("unix:///run/valkey.sock?db=2", "unix:///run/valkey.sock?db=3"),
        ("unix://u:p@/run/valkey.sock?db=2", "unix://u:p@/run/valkey.sock?db=3"),
    ],
)
def test_the_broker_is_the_next_database_of_the_same_server(ledger: str, broker: str) -> None:
    assert next_database(ledger) == broker
    assert Settings.from_env({"BUCKETLINE_REDIS_URL": ledger}).broker_url == broker


def test_a_broker_of_its_own_is_taken_as_it_is() -> None:
    environ = {"BUCKETLINE_REDIS_URL": "redis://a/0", "BUCKETLINE_BROKER_URL": "redis://b/5"}
    assert Settings.from_env(environ).broker_url == "redis://b/5"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("BUCKETLINE_LEASE_SECONDS", "soon", "a whole number from 1 to 3,600"),
        ("BUCKETLINE_LEASE_SECONDS", "0", "a whole number from 1 to 3,600"),
        ("BUCKETLINE_RETAIN_SECONDS", "-1", "a whole number"),
        ("BUCKETLINE_SPOOL_LIMIT", "10GB", 'write "10GiB"'),
        ("BUCKETLINE_SPOOL_LIMIT", "0", "at least 1 byte"),
        ("BUCKETLINE_MAX_SIZE", "huge", 'such as "16MiB"'),
        ("BUCKETLINE_DURABILITY", "fsink", "did you mean fsync?"),
        ("BUCKETLINE_REDIS_URL", "localhost:6379", "redis://HOST:PORT/DB"),
        ("BUCKETLINE_REDIS_URL", "redis://localhost:6379/main", "a database by number"),
        ("BUCKETLINE_REDIS_URL", "redis://localhost:99999/0", "port"),
        ("BUCKETLINE_BROKER_URL", "http://h", "redis://HOST:PORT/DB"),
        ("BUCKETLINE_NODE", "a/b", "letters, digits"),
        ("BUCKETLINE_CORS_ORIGINS", "app.example.com", "takes sites as https://app.example.com"),
        ("BUCKETLINE_CORS_ORIGINS", "https://a.example, https://b.example/", "not 'https://b.example/'"),
        ("BUCKETLINE_CORS_ORIGINS", "https://A.example", "takes sites as"),
        ("BUCKETLINE_CORS_ORIGINS", "https://u:p@a.example", "takes sites as"),
        ("BUCKETLINE_CORS_ORIGINS", "https://a.example:443", "without the usual port: https://a.example"),
        ("BUCKETLINE_RETRY_BASE_SECONDS", "nan", "number of seconds"),
        ("BUCKETLINE_RETRY_ATTEMPTS", "0", "a whole number"),
        ("BUCKETLINE_URL", "127.0.0.1:8000", "the address of a Bucketline"),
        ("BUCKETLINE_API_KEY", "two words", "printable ASCII"),
        ("BUCKETLINE_SOURCE_ROOTS", "/nowhere/at/all", "not a directory: /nowhere/at/all"),
    ],
)
def test_a_bad_value_names_the_variable_and_what_it_takes(variable: str, value: str, expected: str) -> None:
    (fault,) = faults({variable: value})
    assert fault.startswith(variable)
    assert expected in fault


def test_all_faults_are_told_at_once() -> None:
    assert len(faults({"BUCKETLINE_LEASE_SECONDS": "x", "BUCKETLINE_MAX_SIZE": "y", "BUCKETLINE_NODE": "/"})) == 3


def test_a_bad_option_is_named_as_the_option() -> None:
    (fault,) = faults({}, threads="many")
    assert fault.startswith("--threads takes")


def test_origins_reach_a_child_as_they_came() -> None:
    first = Settings.from_env({"BUCKETLINE_CORS_ORIGINS": "https://a.example, http://localhost:3000,*"})

    assert first.cors_origins == ("https://a.example", "http://localhost:3000", "*")
    assert Settings.from_env(first.environ()) == first


def test_what_imports_may_reach_comes_by_commas() -> None:
    found = Settings.from_env(
        {"BUCKETLINE_IMPORT_ALLOW": "files.internal, 10.1.0.0/16,fd12::1", "BUCKETLINE_IMPORT_PORTS": "443, 8443"}
    )

    assert found.import_allow == ("files.internal", "10.1.0.0/16", "fd12::1")
    assert found.import_ports == (443, 8443)
    assert Settings.from_env(found.environ()) == found


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("BUCKETLINE_IMPORT_ALLOW", "10.1.0.1/16"), ("BUCKETLINE_IMPORT_ALLOW", "http://x"),
        ("BUCKETLINE_IMPORT_ALLOW", "*"), ("BUCKETLINE_IMPORT_PORTS", "0"), ("BUCKETLINE_IMPORT_PORTS", "70000"),
        ("BUCKETLINE_IMPORT_PORTS", "http"), ("BUCKETLINE_IMPORT_PORTS", ","),
    ],
)  # fmt: skip
def test_what_imports_cannot_reach(variable: str, text: str) -> None:
    (fault,) = faults({variable: text})
    assert fault.startswith(f"{variable} takes")


@pytest.mark.parametrize("variable", ["BUCKETLINE_API_KEY", "BUCKETLINE_TOKEN"])
def test_a_refused_secret_is_not_repeated(variable: str) -> None:
    (fault,) = faults({variable: "hush hush"})
    assert "hush" not in fault


def test_a_refused_url_is_not_repeated_because_it_may_hold_a_password() -> None:
    (fault,) = faults({"BUCKETLINE_REDIS_URL": "http://u:hush@h"})
    assert "hush" not in fault


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    environ = {
        "BUCKETLINE_API_KEY": "hush",
        "BUCKETLINE_TOKEN": "hush",
        "BUCKETLINE_REDIS_URL": "redis://u:hush@h/0",
        "BUCKETLINE_BROKER_URL": "redis://h/1?password=hush&x=1",
    }
    assert "hush" not in repr(Settings.from_env(environ))
    assert without_password("redis://u:hush@h/0") == "redis://u:***@h/0"


def test_an_unknown_name_is_a_warning_with_the_nearest_word() -> None:
    (warning,) = Settings.from_env({"BUCKETLINE_LEASE_SECOND": "3"}).warnings
    assert warning.startswith("BUCKETLINE_LEASE_SECOND ")
    assert "did you mean BUCKETLINE_LEASE_SECONDS?" in warning


def test_a_child_that_gets_the_environment_reads_the_same_settings(tmp_path: Path) -> None:
    environ = {
        "BUCKETLINE_REDIS_URL": "unix:///run/v.sock?db=0",
        "BUCKETLINE_CONFIG": "elsewhere.toml",
        "BUCKETLINE_DATA": "d",
        "BUCKETLINE_SPOOL_LIMIT": "5GiB",
        "BUCKETLINE_API_KEY": "k",
        "BUCKETLINE_SOURCE_ROOTS": os.pathsep.join([str(tmp_path), "/"]),
        "BUCKETLINE_RETRY_BASE_SECONDS": "0.25",
        "BUCKETLINE_THREADS": "4",
    }
    settings = Settings.from_env(environ)
    assert Settings.from_env(settings.environ()) == settings


def test_a_setting_that_does_not_exist_is_a_mistake_of_the_programmer() -> None:
    with pytest.raises(TypeError, match="speed"):
        Settings.from_env({}, speed=3)
