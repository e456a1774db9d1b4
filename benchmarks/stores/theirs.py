"""Sends a file by `put_file` of one of fsspec's file systems.

`python -m benchmarks.stores.theirs URL FILE OPTIONS MORE`: the target, and as JSON what the file system takes and what
its `put_file` takes.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import fsspec

from benchmarks.peers import clock


def main() -> None:
    url, file, words, more = sys.argv[1:5]
    options = json.loads(words)
    module, _, name = options.pop("class", "").rpartition(".")
    kind = getattr(import_module(module), name) if name else fsspec.get_filesystem_class(url.partition(":")[0])
    store, target = kind(**{**kind._get_kwargs_from_urls(url), **options}), kind._strip_protocol(url)
    store.exists(target)
    clock.report(lambda: store.put_file(file, target, **json.loads(more)))
    store.invalidate_cache()
    assert store.info(target)["size"] == Path(file).stat().st_size, "it did not arrive"


if __name__ == "__main__":
    main()
