"""A destination is proven by real work, and nothing of it is left, however it ends."""

from pathlib import Path

import msgspec
import pytest

from backends.base import ObjectInfo
from backends.config import load
from backends.memory import MemoryBackend, MemoryPlugin
from backends.probe import ProbeResult, probe
from tests import servers


def result_of(directory: Path, table: str) -> ProbeResult:
    file = servers.write_private(directory / "plugins.toml", f'default = "here"\n[destinations.here]\n{table}\n')
    return probe(load(file).destinations["here"])


def done(result: ProbeResult) -> list[str]:
    return [step.step for step in result.steps]


def left(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def test_a_local_directory_is_written_read_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    result = result_of(tmp_path, 'backend = "local"\nroot = "objects"')
    assert result.ok, result
    assert done(result) == ["connect", "write", "look", "read", "delete"]
    assert left(tmp_path / "objects") == []


def test_an_s3_bucket_is_written_read_and_left_as_it_was(tmp_path: Path, rclone_s3: servers.S3Server) -> None:
    bucket = rclone_s3.make_bucket("probed")
    table = rclone_s3.toml("here", bucket).partition("\n")[2]
    result = result_of(tmp_path, table + 'prefix = "some/where/"')
    assert result.ok, result
    assert left(rclone_s3.stored(bucket, "")) == []


def test_a_bucket_that_is_not_there_is_told_as_such(tmp_path: Path, rclone_s3: servers.S3Server) -> None:
    result = result_of(tmp_path, rclone_s3.toml("here", "never-made").partition("\n")[2])
    assert not result.ok
    assert [(step.step, step.ok) for step in result.steps][:2] == [("connect", True), ("write", False)]


def test_credentials_that_are_refused_are_told_as_such(tmp_path: Path, moto_s3: servers.S3Server) -> None:
    table = moto_s3.toml("here", moto_s3.make_bucket("probed")).partition("\n")[2]
    assert result_of(tmp_path, table.replace(moto_s3.endpoint_url, "http://127.0.0.1:9")).ok is False


@pytest.mark.parametrize(
    ("fault", "failed"),
    [
        ('fail = { part = 2, times = 100, error = "access_denied" }', "write"),
        ("corrupt_part = 1", "read"),
        ("cut_at = 5", "look"),
    ],
)
def test_a_store_with_a_fault_fails_at_that_step_and_is_cleaned(tmp_path: Path, fault: str, failed: str) -> None:
    result = result_of(tmp_path, f'backend = "memory"\nspace = "{tmp_path.name}"\n{fault}')
    assert not result.ok
    assert next(step.step for step in result.steps if not step.ok) == failed


def test_a_store_that_reports_a_wrong_checksum_of_right_bytes_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every job of more than one part would fail there with `integrity_failed`."""
    right = MemoryBackend.stat

    def wrong(backend: MemoryBackend, key: str) -> ObjectInfo | None:
        info = right(backend, key)
        return info and msgspec.structs.replace(info, checksum="crc32c:AAAAAA==")

    monkeypatch.setattr(MemoryBackend, "stat", wrong)
    result = result_of(tmp_path, f'backend = "memory"\nspace = "{tmp_path.name}"')
    assert not result.ok
    (failed,) = [step for step in result.steps if not step.ok]
    assert failed.step == "read"
    assert failed.detail.startswith("the store reports crc32c:AAAAAA==") and 'checksum = "none"' in failed.detail


def test_a_failed_write_gives_up_its_upload(tmp_path: Path) -> None:
    fault = 'fail = { part = 1, times = 100, error = "access_denied" }'
    result = result_of(tmp_path, f'backend = "memory"\nspace = "{tmp_path.name}"\n{fault}')
    assert done(result) == ["connect", "write", "abort", "delete"]


def test_a_store_that_takes_one_part_is_proved_by_one(tmp_path: Path) -> None:
    result = result_of(tmp_path, f'backend = "memory"\nspace = "{tmp_path.name}"\ncapabilities = {{ max_parts = 1 }}')
    assert result.ok, result
    assert next(step.detail for step in result.steps if step.step == "write") == "1 part"


def test_what_is_no_backend_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryPlugin, "build", lambda self, options: object())
    result = result_of(tmp_path, 'backend = "memory"')
    [step] = result.steps
    assert not result.ok
    assert step.detail.startswith("The plug-in is at fault: object is no backend: it lacks begin, put_part, ")
