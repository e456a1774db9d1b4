"""`bucketline config` shows what is in force, where it came from, and no secret."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config import NAMES, Settings, without_password
from tests import servers
from tests.command.conftest import Outcome

Command = Callable[..., Outcome]
PLUGINS = """
default = "everywhere"
[destinations.media]
backend = "local"
root    = "objects"
[destinations.archive]
backend      = "s3"
bucket       = "acme"
endpoint_url = "${S3_URL}"
key          = "${S3_KEY}"
secret_file  = "s3.secret"
prefix       = "up/"
limits       = { part_size = "16MiB" }
properties   = { storage_class = "COLD" }
[destinations.nas]
backend = "fsspec"
url     = "sftp://me@nas.test/srv"
options = { password = "hush-written", look_for_keys = false }
[destinations.cloud]
backend = "gcs"
bucket  = "acme"
credentials_file = "hush.json"
[destinations.blobs]
backend = "azure"
container = "acme"
connection_string = "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=aHVzaA=="
[routes.everywhere]
mirror = ["media", "archive"]
[credentials.partner]
headers = { Authorization = "Bearer ${PARTNER}" }
hosts   = ["files.partner.test"]
[webhooks]
secret = ["${HOOKS}", "${HOOKS}"]
[actors.thumbnail]
actor      = "make_thumbnail"
broker_url = "redis://:hush-broker@shop.test:6379/2"
"""
SECRETS = {"S3_KEY": "hush-key", "PARTNER": "hush-partner", "HOOKS": "whsec_" + "aHVz" * 8}


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "s3.secret").write_text("hush-file\n")
    for name, value in {**SECRETS, "S3_URL": "http://s3.test"}.items():
        monkeypatch.setenv(name, value)
    return servers.write_private(tmp_path / "plugins.toml", PLUGINS)


def shown(command: Command, *words: object) -> dict[str, dict[str, dict[str, Any]]]:
    """The entries of `config --json`, by table and name."""
    done = command("config", "--json", *words)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    tables = {"settings": told["settings"], **{group["name"]: group["entries"] for group in told["tables"]}}
    return {name: {entry["name"]: entry for entry in entries} for name, entries in tables.items()}


def test_every_value_says_where_it_came_from(command: Command, plugins: Path) -> None:
    archive = shown(command)["destinations.archive"]

    def where(name: str) -> tuple[Any, str, str]:
        return archive[name]["value"], archive[name]["from"], archive[name]["by"]

    assert where("bucket") == ("acme", "file", str(plugins))
    assert where("endpoint_url") == ("http://s3.test", "environment", "S3_URL")
    assert where("key") == ("***", "environment", "S3_KEY")
    assert where("secret") == ("***", "file", str(plugins.parent / "s3.secret"))
    assert where("read_timeout_seconds") == (60.0, "default", "")
    assert where("limits.part_size") == (16 << 20, "file", str(plugins))
    assert where("limits.concurrency") == (8, "default", "")
    assert where("properties.storage_class") == ("COLD", "file", str(plugins))


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_no_secret_of_any_backend_or_table_is_shown(
    command: Command, plugins: Path, monkeypatch: pytest.MonkeyPatch, how: list[str]
) -> None:
    monkeypatch.setenv("BUCKETLINE_API_KEY", "hush-api")
    monkeypatch.setenv("BUCKETLINE_REDIS_URL", "redis://me:hush@p@ss@redis.test:6379/0")
    monkeypatch.setenv("BUCKETLINE_URL", "https://me:hush-url@bucketline.test")
    done = command("config", *how)
    assert done.code == 0
    assert "hush" not in done.out + done.err
    assert "aHVz" not in done.out + done.err
    assert "redis://me:***@redis.test:6379/1" in done.out
    assert "redis://:***@shop.test:6379/2" in done.out


def test_the_tables_beside_destinations(command: Command, plugins: Path) -> None:
    tables = shown(command)
    assert tables[""]["default"]["value"] == "everywhere"
    assert tables["routes.everywhere"]["mirror"]["value"] == ["media", "archive"]
    assert tables["credentials.partner"]["headers.Authorization"] | {"name": ""} == {
        "name": "",
        "value": "***",
        "from": "environment",
        "by": "PARTNER",
    }
    assert tables["webhooks"]["secret"]["value"] == ["***", "***"]
    assert tables["actors.thumbnail"]["queue"]["from"] == "default"
    assert tables["destinations.nas"]["options.password"]["value"] == "***"


def test_settings_by_option_environment_file_and_default(
    command: Command, plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUCKETLINE_THREADS", "3")
    monkeypatch.setenv("BUCKETLINE_API_KEY", "k")
    settings = shown(command, "--data", "here")["settings"]
    found = {name: (entry["from"], entry["by"]) for name, entry in settings.items()}
    assert found["BUCKETLINE_DATA"] == ("option", "--data")
    assert found["BUCKETLINE_CONFIG"] == ("file", "./plugins.toml")
    assert found["BUCKETLINE_THREADS"] == ("environment", "BUCKETLINE_THREADS")
    assert found["BUCKETLINE_TOKEN"] == ("environment", "BUCKETLINE_API_KEY")
    assert found["BUCKETLINE_LEASE_SECONDS"] == ("default", "")
    assert settings["BUCKETLINE_DATA"]["value"] == str(plugins.parent / "here")
    assert shown(command, "--config", plugins)["settings"]["BUCKETLINE_CONFIG"]["by"] == "--config"


def test_every_variable_is_in_it(command: Command) -> None:
    assert list(shown(command)["settings"]) == list(NAMES)


def test_without_a_file_the_local_destination_is_shown(command: Command, tmp_path: Path) -> None:
    tables = shown(command)
    assert tables["destinations.local"]["root"] == {
        "name": "root",
        "value": str(tmp_path / "var" / "objects"),
        "from": "default",
        "by": "",
    }
    assert tables["settings"]["BUCKETLINE_CONFIG"]["value"] is None


def test_for_people(command: Command, plugins: Path) -> None:
    lines = [line.split() for line in command("config").out.splitlines()]
    assert ["settings"] in lines
    assert ["[destinations.archive]", "s3://acme/up/"] in lines
    assert ["key", "***", "environment:", "S3_KEY"] in lines
    assert ["bucket", "acme", "plugins.toml"] in lines
    assert ["BUCKETLINE_MAX_SIZE", "no", "limit", "default"] in lines


def test_a_faulty_file_is_exit_code_78_with_every_fault(command: Command, plugins: Path) -> None:
    plugins.write_text(plugins.read_text().replace('"s3"', '"s4"').replace("bucket  =", "bukket  ="))
    done = command("config")
    assert (done.code, done.out) == (78, "")
    assert "plugins.toml cannot be used" in done.err
    assert "did you mean" in done.err
    assert "bukket" in done.err


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:a@b@c@h:1/0", "redis://:***@h:1/0"),
        ("rediss://me:pw@h/0?password=x&db=1", "rediss://me:***@h/0?password=***&db=1"),
        ("redis://h:1/0", "redis://h:1/0"),
        ("http://h:80/a:b@c", "http://h:80/a:b@c"),
    ],
)
def test_a_password_in_an_address_is_masked(url: str, expected: str) -> None:
    assert without_password(url) == expected


def test_settings_show_no_secret() -> None:
    settings = Settings.from_env({"BUCKETLINE_API_KEY": "hush", "BUCKETLINE_URL": "http://a:hush@b"})
    assert "hush" not in repr(settings) + str(settings.shown())
