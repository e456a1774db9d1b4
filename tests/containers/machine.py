"""A Debian of our own in a directory, with a systemd that runs: packages come from where this machine's come from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import eventually, needs, program, tied

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def bootstrap(target: Path, *packages: str) -> None:
    """The release that runs here, in a directory or as a tar file, with these packages. With the certificates of this
    machine, among which may be that of a proxy that re-signs."""
    needs(os.geteuid() == 0, "root, to make a Debian")
    copied = f"--customize-hook=copy-in {CERTIFICATES} {CERTIFICATES.parent}"
    subprocess.run(
        [
            program("mmdebstrap"), "--mode=root", "--variant=minbase", "--quiet", copied,
            f"--include=ca-certificates,{','.join(packages)}", _release(), str(target), *_sources(),
        ],
        check=True, timeout=600,
    )  # fmt: skip


def _release() -> str:
    words = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return words["VERSION_CODENAME"].strip('"')


def _sources() -> list[str]:
    found = [*Path("/etc/apt/sources.list.d").glob("*.sources"), Path("/etc/apt/sources.list")]
    return [str(path) for path in found if path.exists() and path.stat().st_size]


@dataclass(frozen=True)
class Machine:
    """Its files, and the process that is number 1 in it."""

    root: Path
    init: int

    def types(self, text: str, code: int = 0) -> str:
        """What a shell of root prints there; it must end with this code."""
        enter = ["nsenter", "--target", str(self.init), "--all", "--root", "--wd", "env", "-i", *_environ()]
        return _said([*enter, "bash", "-euo", "pipefail", "-c", text], code)


def types_before_it_runs(root: Path, text: str) -> str:
    """The same in a machine that does not run, with the network of this one."""
    nspawn = [program("systemd-nspawn"), "--quiet", "--register=no", "--keep-unit", "--timezone=off"]
    where = ["--resolv-conf=copy-host", f"--directory={root}", "--pipe"]
    return _said([*nspawn, *where, "env", "-i", *_environ(), "bash", "-euo", "pipefail", "-c", text])


@contextmanager
def booted(root: Path, log: Path) -> Iterator[Machine]:
    """It has a loopback of its own, and no other network."""
    command = [
        program("systemd-nspawn"), "--quiet", "--register=no", "--keep-unit", "--private-network", "--console=pipe",
        f"--directory={root}", "--boot",
    ]  # fmt: skip
    with log.open("wb") as output:
        nspawn = subprocess.Popen(tied(command), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    machine: Machine | None = None
    try:
        eventually(lambda: nspawn.poll() is not None or _first_below(nspawn.pid) > 0, "it has a process 1", 30)
        assert nspawn.poll() is None, log.read_text()
        machine = Machine(root, _first_below(nspawn.pid))
        eventually(lambda: _runs(machine), "systemd has started everything", 60)
        yield machine
    finally:
        if machine is not None:
            subprocess.run(["kill", "-RTMIN+4", str(machine.init)], check=False)  # power off
        try:
            nspawn.wait(60)
        finally:
            nspawn.kill()
        shutil.rmtree(root, ignore_errors=True)


def _runs(machine: Machine) -> bool:
    try:
        return machine.types("systemctl is-system-running || true").strip() in ("running", "degraded")
    except AssertionError:
        return False


def _first_below(pid: int) -> int:
    """systemd, the grandchild of what we started: number 1 in a namespace of its own."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            words = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except OSError:
            continue
        if words["NSpid"].split()[1:] == ["1"] and _descends(int(words["Pid"]), pid):
            return int(words["Pid"])
    return 0


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


def _environ() -> list[str]:
    return [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8",
        f"PIP_CERT={CERTIFICATES}", "PIP_DEFAULT_TIMEOUT=180",
    ]  # fmt: skip


def _said(command: list[str], code: int = 0) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != code:
        print(done.stderr, file=sys.stderr)
    assert done.returncode == code, f"{command[-1]}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
