"""boto3's `upload_file` with 8 threads and 16 MiB parts."""

from __future__ import annotations

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from benchmarks.peers import clock


def main() -> None:
    call = clock.arguments()
    client = boto3.client(
        "s3", endpoint_url=call.endpoint, config=Config(s3={"addressing_style": "path"}, max_pool_connections=16)
    )
    transfer = TransferConfig(multipart_threshold=1 << 24, multipart_chunksize=1 << 24, max_concurrency=8)
    clock.report(lambda: client.upload_file(call.file, call.bucket, call.key, Config=transfer))


if __name__ == "__main__":
    main()
