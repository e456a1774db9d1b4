"""What the pages of docs/backends show beside plugins.toml, run as it stands there."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from backends import errors
from backends.base import GIB, Properties
from backends.body import BytesBody
from backends.config import load
from tests import documents
from tests.documents import ROOT


def test_what_a_lost_machine_left_is_found_by_its_name_and_age(tmp_path: Path) -> None:
    """The name is the one that the backend gives; what is young or whole stays."""
    (tmp_path / "plugins.toml").write_text('[destinations.media]\nbackend = "local"\nroot = "media"\n')
    backend = load(tmp_path / "plugins.toml", {}).destinations["media"].build()
    for key in ("old.mp4", "young.mp4"):
        session = backend.begin(key, size=6, part_size=6, properties=Properties())
        backend.put_part(session, 1, BytesBody(b"a film"))
    backend.close()
    media = tmp_path / "media"
    (media / "whole.mp4").write_bytes(b"a film")
    (old,) = media.rglob(".old.mp4*.bucketline-part")
    for path in (old, media / "whole.mp4"):
        os.utime(path, (time.time() - 30 * 86400,) * 2)

    command = documents.block("docs/backends/local.md", "run: clear").replace("/srv/media", str(media))
    subprocess.run(["sh", "-euc", command], check=True, timeout=60)

    left = sorted(path.name for path in media.rglob("*") if path.is_file())
    assert len(left) == 2 and left[0].startswith(".young.mp4") and left[1] == "whole.mp4"


def test_a_test_looks_behind_the_memory_backend(tmp_path: Path) -> None:
    (table,) = [one.text for one in documents.blocks("docs/backends/memory.md") if one.language == "toml"]
    (tmp_path / "plugins.toml").write_text(table)
    backend = load(tmp_path / "plugins.toml", {}).destinations["flaky"].build()
    session = backend.begin("uploads/notes.txt", size=4, part_size=4, properties=Properties())
    receipts = []
    for _ in range(6):
        with contextlib.suppress(errors.BackendError):  # a third of the calls fails, the same ones each time
            receipts.append(backend.put_part(session, 1, BytesBody(b"milk")))
    backend.complete(session, receipts[-1:])
    *lines, expression = documents.block("docs/backends/memory.md", "run: look").strip().splitlines()
    names: dict[str, object] = {}

    exec("\n".join(lines), names)

    assert eval(expression, names) == b"milk"


def test_a_store_of_whole_objects_takes_the_rest_from_the_library() -> None:
    names: dict[str, Any] = {"GIB": GIB}
    code = documents.block("docs/backends/write-your-own.md", "whole")
    exec(code, names)
    [said] = re.findall(r"# in the plug-in: return (.*)", code)

    assert eval(said, names).max_parts == 1
    assert not {"begin", "put_part", "complete", "abort"} - set(dir(names["Hoard"]))


def test_a_package_begins_as_a_copy_of_the_example(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "backend-sqlite", tmp_path / "clone" / "examples" / "backend-sqlite")

    command = documents.block("docs/backends/write-your-own.md", "run: copy")
    subprocess.run(["sh", "-euc", command], cwd=tmp_path / "clone", check=True, timeout=60)

    assert (tmp_path / "bucketline-mystore" / "pyproject.toml").exists()
