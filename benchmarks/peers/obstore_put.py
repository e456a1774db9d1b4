"""obstore's `put` with 8 parts of 16 MiB at once."""

from __future__ import annotations

from pathlib import Path

import obstore
from obstore.store import S3Store

from benchmarks.peers import clock


def main() -> None:
    call = clock.arguments()
    store = S3Store(
        call.bucket,
        endpoint=call.endpoint,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    clock.report(
        lambda: obstore.put(store, call.key, Path(call.file), use_multipart=True, chunk_size=1 << 24, max_concurrency=8)
    )


if __name__ == "__main__":
    main()
