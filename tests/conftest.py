"""Fixtures for every test: a real Valkey and real S3 servers, started once per test process and only when asked for."""

import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import servers

# How long an example takes depends on what else the machine does: no test of ours judges by the clock. Nor by chance:
# for other examples, run with `--hypothesis-profile default`.
settings.register_profile("bucketline", deadline=None, derandomize=True)
settings.load_profile("bucketline")

# Whoever runs us in the background of a shell has made us ignore Ctrl-C, and everything that we start with us.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own BUCKETLINE_* and AWS_* must not decide how a test ends."""
    import os

    for name in list(os.environ):
        if name.startswith(("BUCKETLINE_", "AWS_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def short_directory() -> Iterator[Path]:
    """A directory with a short path: Unix sockets end at 107 bytes."""
    directory = Path(tempfile.mkdtemp(prefix="bl-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey(short_directory: Path) -> Iterator[servers.Valkey]:
    """The Valkey that all tests of this process share. Never stop it: `own_valkey` is for that."""
    server = servers.Valkey(short_directory / "valkey", append_only=False).start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def valkey_url(valkey: servers.Valkey) -> str:
    return valkey.url


@pytest.fixture
def redis_url(valkey: servers.Valkey) -> Iterator[str]:
    """A Redis with nothing in it, neither keys nor scripts; the broker's database is the next one."""
    valkey.empty()
    yield valkey.url
    valkey.empty()


@pytest.fixture
def own_valkey() -> Iterator[Callable[[], servers.Valkey]]:
    """Makes Valkeys for one test, with AOF, to be killed and started again at will."""
    started: list[servers.Valkey] = []

    def make() -> servers.Valkey:
        started.append(servers.Valkey(Path(tempfile.mkdtemp(prefix="bl-"))).start())
        return started[-1]

    yield make
    for server in started:
        server.kill()
        shutil.rmtree(server.directory, ignore_errors=True)


@pytest.fixture(scope="session")
def rclone_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3Server]:
    with servers.rclone(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="session")
def moto_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3Server]:
    with servers.moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def ministack_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3Server]:
    with servers.ministack(tmp_path_factory.mktemp("ministack")) as server:
        yield server
