"""The demonstration: the whole stack in a temporary directory, two files sent over REST, and a look at what arrived."""

import argparse
import contextlib
import filecmp
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from bucketline.cli import Parser, say
from bucketline.client import Client, ClientError, Event, Job
from bucketline.exits import FAILED, FINE, INTERRUPTED, Failure
from bucketline.report import Lines, Reporter, human_size, reporter
from bucketline.results import TERMINAL, Transfer

BIG = 256 << 20
SMALL = b"Hello from Bucketline.\n"
START_SECONDS = 60.0
STOP_SECONDS = 60.0
# plugins.toml takes secrets from the environment; these keep nothing secret.
SECRETS = {"DEMO_KEY": "demo-key", "DEMO_SECRET": "demo-secret"}


def main(argv: list[str] | None = None) -> int:
    # A SIGTERM is an ending like Ctrl-C: what was started is stopped, and the directory goes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        arguments = _arguments(argv)
        with _directory(arguments.keep) as directory:
            return Demo(directory, arguments.size, kept=arguments.keep is not None).run()
    except (Failure, ClientError) as error:
        say("the demonstration failed", *str(error).splitlines())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="demo", description=__doc__)
    parser.add_argument("--keep", metavar="DIR", help="work in this directory, and leave everything there")
    parser.add_argument("--size", type=int, default=BIG, metavar="BYTES", help="size of the large file")
    return parser.parse_args(argv)


@contextlib.contextmanager
def _directory(keep: str | None) -> Iterator[Path]:
    if keep is not None:
        yield Path(keep).absolute()
        return
    directory = Path(tempfile.mkdtemp(prefix="bucketline-demo-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@dataclass
class Sent:
    """One file of the demonstration: the source, how its job ended, and how long that took."""

    source: Path
    answered_seconds: float
    total_seconds: float
    job: Job
    copies: list[tuple[Transfer, Path, bool]] = field(default_factory=list)


@dataclass
class Demo:
    """One run. `roots` are the directories in which each destination keeps its objects, behind Bucketline's back."""

    directory: Path
    size: int
    kept: bool
    roots: dict[str, Path] = field(default_factory=dict)

    def run(self) -> int:
        self._make_room()
        big, small = self._make_files()
        with self._s3_server() as config, self._stack(config) as url:
            print(f"Bucketline runs at {url}, everything in {self.directory}")
            print(f"  the same by hand: curl -T {big} {url}/v1/objects/everywhere/{big.name}\n", flush=True)
            with Client(url) as client:
                sent = [self._send(client, file) for file in (big, small)]
        return self._tell(sent)

    # -- what is needed ---------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        needed = 5 * self.size + (64 << 20)
        free = shutil.disk_usage(self.directory).free
        if free < needed:
            where = "set TMPDIR to a larger disk, or use --keep DIR"
            raise Failure(
                FAILED, f"{self.directory} has {human_size(free)} left, {human_size(needed)} are needed", where
            )

    def _make_files(self) -> tuple[Path, Path]:
        print(f"making a file of {human_size(self.size)} and one of {len(SMALL)} B", flush=True)
        big, small = self.directory / "holiday.mp4", self.directory / "hello.txt"
        with big.open("wb") as file:
            for start in range(0, self.size, 1 << 20):
                file.write(os.urandom(min(1 << 20, self.size - start)))
        small.write_bytes(SMALL)
        return big, small

    @contextlib.contextmanager
    def _s3_server(self) -> Iterator[Path]:
        """A local directory, and rclone's S3 server as the second destination where rclone is installed."""
        self.roots = {"media": self.directory / "objects"}
        tables = ['[destinations.media]\nbackend = "local"\nroot = "objects"\n']
        rclone = Path(sys.executable).with_name("rclone")
        program = str(rclone) if rclone.exists() else shutil.which("rclone")
        with contextlib.ExitStack() as stack:
            if program is None:
                self.roots["archive"] = self.directory / "archive"
                tables.append('[destinations.archive]\nbackend = "local"\nroot = "archive"\n')
            else:
                port = _free_port()
                self.roots["archive"] = self.directory / "buckets" / "acme-archive"
                tables.append(_s3_table(port))
                stack.enter_context(self._rclone(program, port))
            config = self.directory / "plugins.toml"
            route = '[routes.everywhere]\nmirror = ["archive", "media"]\n'
            config.write_text("\n".join(['default = "everywhere"\n', *tables, route]))
            yield config

    @contextlib.contextmanager
    def _rclone(self, program: str, port: int) -> Iterator[None]:
        self.roots["archive"].mkdir(parents=True, exist_ok=True)
        command = [program, "serve", "s3", "--config", os.devnull, "--addr", f"127.0.0.1:{port}"]
        command += ["--auth-key", ",".join(SECRETS.values()), str(self.directory / "buckets")]
        with (self.directory / "rclone.log").open("wb") as log:
            process = _child(["exec", *command], log)
        try:
            _await(lambda: _listens(port) or process.poll() is not None, "rclone's S3 server")
            yield
        finally:
            _stop(process)

    @contextlib.contextmanager
    def _stack(self, config: Path) -> Iterator[str]:
        words = ["up", "--port", "0", "--config", str(config), "--data", str(self.directory / "var")]
        log = self.directory / "up.log"
        with log.open("wb") as errors:
            process = _child(words, errors, out=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout:
            try:
                line = process.stdout.readline().decode()
                if " at http" not in line:
                    raise Failure(FAILED, "the stack did not start", *log.read_text().splitlines()[-8:])
                yield line.rpartition(" at ")[2].strip()
            finally:
                code = _stop(process)
        if code != 0:
            raise Failure(FAILED, f"`bucketline up` ended with {code}", *log.read_text().splitlines()[-8:])

    # -- what is shown ----------------------------------------------------------------------------------------------

    def _send(self, client: Client, file: Path) -> Sent:
        report: Reporter = reporter() if sys.stderr.isatty() else Lines(0.4)
        size = file.stat().st_size
        started = time.monotonic()
        report.sending(file.name, size)
        try:
            job = client.submit(file, on_sent=lambda sent: report.sent(file.name, sent))
            answered = time.monotonic() - started
            report.accepted(file.name, job)

            def on_event(event: Event) -> None:
                if event.data.get("state") not in TERMINAL:
                    transfers = msgspec.convert(event.data.get("transfers", []), list[Transfer], strict=False)
                    report.moved(file.name, size, transfers)

            job = client.wait(job.id, timeout=600, on_event=on_event)
            total = time.monotonic() - started
            report.ended(file.name, job)
        finally:
            report.close()
        return Sent(file, answered, total, job, [self._look(file, job, transfer) for transfer in job.transfers])

    def _look(self, file: Path, job: Job, transfer: Transfer) -> tuple[Transfer, Path, bool]:
        """Whether the object's file, as the store keeps it, holds the very bytes that were sent."""
        stored = self.roots[transfer.destination] / (job.key or "")
        return transfer, stored, stored.is_file() and filecmp.cmp(file, stored, shallow=False)

    def _tell(self, sent: list[Sent]) -> int:
        print()
        fine = True
        for one in sent:
            size = one.source.stat().st_size
            speed = human_size(size / one.total_seconds)
            print(
                f"{one.source.name}: {human_size(size)}, answered after {one.answered_seconds:.2f} s, "
                f"{one.job.state.replace('_', ' ')} after {one.total_seconds:.2f} s ({speed}/s)"
            )
            for transfer, stored, same in one.copies:
                fine = fine and same and one.job.succeeded
                parts = transfer.parts.total or 1
                print(f"  {transfer.destination}: {parts} part{'s' * (parts > 1)}, ", end="")
                print("byte-identical" if same else "NOT what was sent", end="")
                print(f", verified by {transfer.verified_by}" if transfer.verified_by else "")
                print(f"    {transfer.url}\n    {stored}")
            fine = fine and bool(one.copies)
        if not self.kept:
            print("\nThe directory is removed now; `make demo KEEP=demo` leaves everything in ./demo.")
        print("Everything arrived." if fine else "Something did NOT arrive as it was sent.", flush=True)
        return FINE if fine else FAILED


def _s3_table(port: int) -> str:
    return f"""[destinations.archive]
backend      = "s3"
bucket       = "acme-archive"
endpoint_url = "http://127.0.0.1:{port}"
key          = "${{DEMO_KEY}}"
secret       = "${{DEMO_SECRET}}"
region       = "us-east-1"
"""


def _child(words: list[str], errors: IO[bytes], out: int | None = None) -> "subprocess.Popen[bytes]":
    """A process that ends with us, free of the settings of the user's own shell."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("BUCKETLINE_", "AWS_"))}
    environ |= SECRETS
    command = [sys.executable, "-P", "-m", "bucketline.child", str(os.getpid()), *words]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=errors if out is None else out,
        stderr=errors,
        env=environ,
        start_new_session=True,
    )


def _stop(process: "subprocess.Popen[bytes]") -> int:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _await(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(FAILED, f"{what} did not start within {START_SECONDS:.0f} s")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
