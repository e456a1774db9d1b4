"""The Django example beside a Bucketline, as processes of their own, with all that the two know of each other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import httpx

from tests.e2e.stack import PATIENCE, PROJECT, Stack
from tests.servers import eventually, free_port

EXAMPLE = PROJECT / "examples" / "django"
NOT_OURS = ("node_modules", "var", "static", "__pycache__")
SECRET = "whsec_" + "ZGphbmdv" * 5
KEY = "the-key-of-the-shop"


class Site:
    """Django with a database of its own, and a Bucketline with a directory for a bucket. Ended with what it started."""

    def __init__(self, directory: Path, **environ: str) -> None:
        self.directory = directory
        # A copy, so that nothing is written beside the sources.
        self.code = shutil.copytree(EXAMPLE, directory / "site", ignore=shutil.ignore_patterns(*NOT_OURS))
        self.bucket = directory / "objects"
        self.handover = directory / "django" / "handover"
        self.handover.mkdir(parents=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.stack = Stack(
            f'default = "media"\n[destinations.media]\nbackend = "local"\nroot = "{self.bucket}"\n'
            f'[webhooks]\nsecret = "{SECRET}"\n',
            BUCKETLINE_API_KEY=KEY,
            BUCKETLINE_SOURCE_ROOTS=str(self.handover),
            BUCKETLINE_CORS_ORIGINS=self.url,
            BUCKETLINE_WEBHOOK_ALLOW="127.0.0.1",
            BUCKETLINE_WEBHOOK_PORTS=str(self.port),
            BUCKETLINE_WEBHOOK_WAITS="0.2,0.2,0.2,0.2",
        )
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("BUCKETLINE_", "AWS_"))},
            "PYTHONPATH": str(PROJECT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DATA_DIR": str(self.handover.parent),
            "SITE_URL": self.url,
            "DJANGO_DEBUG": "1",
            "WEBHOOK_SECRET": SECRET,
            "BUCKETLINE_API_KEY": KEY,
            **environ,
        }
        self._django: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=PATIENCE)

    def __enter__(self) -> Self:
        return self

    def start(self, workers: int = 1) -> Self:
        self.stack.start(workers)
        return self.start_django()

    def start_django(self) -> Self:
        """Django alone, beside a stack that runs."""
        self.stack.talk.http.headers["Authorization"] = f"Bearer {KEY}"
        self.environ["BUCKETLINE_URL"] = self.stack.talk.url
        subprocess.run(
            [*self._manage, "migrate", "-v", "0"], cwd=self.code, env=self.environ, check=True, timeout=PATIENCE
        )
        with (self.directory / "django.log").open("ab") as log:
            self._django = subprocess.Popen(
                # It ends with this process, however that ends.
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "bucketline.child",
                    str(os.getpid()),
                    "exec",
                    *self._manage,
                    "runserver",
                    "--noreload",
                    f"127.0.0.1:{self.port}",
                ],
                cwd=self.code,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self._answers, "Django answers", PATIENCE)
        return self

    @property
    def _manage(self) -> list[str]:
        return [sys.executable, "manage.py"]

    def _answers(self) -> bool:
        assert self._django is not None
        assert self._django.poll() is None, (self.directory / "django.log").read_text()
        try:
            return self.http.get("/").status_code == 200
        except httpx.TransportError:
            return False

    def __exit__(self, *error: Any) -> None:
        self.http.close()
        if self._django is not None:
            self._django.kill()
            self._django.wait()
            print((self.directory / "django.log").read_text()[-4000:])
        self.stack.__exit__(*error)

    # -- as the page does

    def post(self, path: str, **options: Any) -> httpx.Response:
        """With the token that Django wants of its own pages."""
        found = re.search(r'"csrf": "(\w+)"', self.http.get("/").text)
        assert found is not None
        return self.http.post(path, headers={"X-CSRFToken": found[1]}, **options)

    def media(self, id: str) -> dict[str, Any]:
        answer = self.http.get(f"/files/{id}/")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def until(self, id: str, state: str) -> dict[str, Any]:
        """The row, once the webhook has brought it there."""
        eventually(lambda: self.media(id)["state"] == state, f"{id} is {state}", PATIENCE)
        return self.media(id)
