"""One upload by the `put_file` of a file system of fsspec's family: what one would use without Bucketline.

The settings: `file_system`, the path of a class; `options` it is made with; `folder`, which goes before the key; `put`,
further arguments of `put_file`; `read_back`, whether the file is read again and compared, as our generic backend does.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from backends.checksums import crc32c
from benchmarks.stores import clock

BLOCK = 1 << 20
WARM_UP = 6 << 20
"""Enough for gcsfs to go the way of large files, and to import what that needs."""


def built(settings: dict[str, Any]) -> Any:
    module, _, name = settings["file_system"].rpartition(".")
    # JSON has no tuples, and httpx takes a user and a password as nothing else.
    options = {name: tuple(value) if name == "auth" else value for name, value in settings["options"].items()}
    return getattr(importlib.import_module(module), name)(**options)


def sum_of(path: Path) -> int:
    """The CRC32C of a file."""
    crc = 0
    with path.open("rb") as source:
        while block := source.read(BLOCK):
            crc = crc32c(block, crc)
    return crc


def main() -> None:
    call = clock.call()
    system, put = built(call.settings), call.settings.get("put", {})
    target, expected = call.settings["folder"] + call.key, sum_of(Path(call.file))
    with TemporaryDirectory() as folder:
        small, fetched = Path(folder, "small"), Path(folder, "fetched")
        small.write_bytes(bytes(WARM_UP))
        system.put_file(str(small), f"{call.settings['folder']}warm-up-peer", **put)  # imports and connects

        def read_back() -> None:
            if call.settings.get("read_back"):
                system.get_file(target, str(fetched))
                if sum_of(fetched) != expected:
                    raise RuntimeError("other bytes are stored than were sent")

        clock.report(lambda: system.put_file(call.file, target, **put), read_back)


if __name__ == "__main__":
    main()
