"""s3fs's `put_file` with 8 parts of 16 MiB at once."""

from __future__ import annotations

import s3fs

from benchmarks.peers import clock


def main() -> None:
    call = clock.arguments()
    store = s3fs.S3FileSystem(endpoint_url=call.endpoint, config_kwargs={"s3": {"addressing_style": "path"}})
    store.connect()
    target = f"{call.bucket}/{call.key}"
    clock.report(lambda: store.put_file(call.file, target, chunksize=1 << 24, max_concurrency=8))


if __name__ == "__main__":
    main()
