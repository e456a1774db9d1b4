"""Azurite, Microsoft's own emulator of Azure Storage, started on loopback."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import servers

ACCOUNT = "devstoreaccount1"
# The key that every emulator knows; it is printed in Microsoft's documentation.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTAINER = "conformance"


@contextlib.contextmanager
def azurite(directory: Path) -> Iterator[str]:
    """Azurite; yields the address of its account, in which there is one container."""
    port = servers.free_port()
    directory.mkdir(parents=True, exist_ok=True)
    command = [str(_program()), "--blobPort", str(port), "--location", str(directory), "--silent"]
    command += ["--blobHost", "127.0.0.1", "--disableTelemetry", "--skipApiVersionCheck"]
    with servers.serving(command, port, directory / "azurite.log"):
        url = f"http://127.0.0.1:{port}/{ACCOUNT}"
        with container(url) as client:
            client.create_container()
        yield url


def options(url: str) -> dict[str, str]:
    """The options of a destination there."""
    return {"container": CONTAINER, "account_name": ACCOUNT, "account_key": KEY, "endpoint_url": url}


@contextlib.contextmanager
def container(url: str, name: str = CONTAINER) -> Iterator[Any]:
    """The SDK's own client, which has nothing of ours."""
    from azure.storage.blob import ContainerClient

    with ContainerClient(url, name, credential={"account_name": ACCOUNT, "account_key": KEY}) as client:
        yield client


def _program() -> Path:
    """What `make test` installed below .venv, where there is npm; without it the test is skipped, or fails in CI."""
    found = Path(sys.prefix) / "node" / "node_modules" / ".bin" / "azurite-blob"
    servers.needs(found.exists(), "azurite")
    return found
