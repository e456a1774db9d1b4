"""The job: carry the temp file to the bucket."""

from __future__ import annotations

import os

import boto3
from botocore.config import Config


def store_file(path: str, key: str) -> None:
    client = boto3.client(
        "s3", endpoint_url=os.environ["ORIGIN_ENDPOINT_URL"], config=Config(s3={"addressing_style": "path"})
    )
    client.upload_file(path, os.environ["ORIGIN_BUCKET"], key)
    os.unlink(path)
