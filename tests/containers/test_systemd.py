"""docs/how-to/systemd.md, typed by root of a Debian of its own in which systemd runs, with Debian's Redis."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests import documents
from tests.containers.conftest import REDIS_PASSWORD, first_without_network
from tests.containers.machine import Machine
from tests.servers import eventually

PAGE = "docs/how-to/systemd.md"
KEY = "a-key-of-the-tests-that-is-long-enough-0123456789"
FILLED_IN = f"sed -i 's/PASSWORD/{REDIS_PASSWORD}/; s/^BUCKETLINE_API_KEY=$/&{KEY}/' /etc/bucketline/environment"


@pytest.fixture(scope="module", autouse=True)
def installed(machine: Machine) -> None:
    """The rest of the page's block, and between its lines what it says to fill in."""
    lines = documents.block(PAGE, "run: systemd").splitlines()
    (filled,) = [number for number, line in enumerate(lines) if "fill in" in line]
    rest = [*lines[first_without_network(lines) : filled + 1], FILLED_IN, *lines[filled + 1 :]]
    machine.types("\n".join(["cd /root/bucketline", *rest]))


def asked(machine: Machine, path: str, *more: str) -> Any:
    words = ["curl", "--silent", "--header", f"'Authorization: Bearer {KEY}'", *more, f"http://127.0.0.1:8000{path}"]
    return json.loads(machine.types(" ".join(words)) or "null")


def test_it_is_ready_and_sees_two_workers(machine: Machine) -> None:
    assert "`curl -s http://127.0.0.1:8000/readyz`" in documents.read(PAGE)
    eventually(
        lambda: machine.types("curl -s http://127.0.0.1:8000/readyz || true").startswith('{"ready":true'), "ready"
    )
    eventually(lambda: len(asked(machine, "/v1/stats")["workers"]) == 2, "two workers")
    assert (
        machine.types("systemctl is-active bucketline-api bucketline-worker@1 bucketline-worker@2").split()
        == ["active"] * 3
    )


def test_a_file_arrives_as_the_user_of_the_units(machine: Machine) -> None:
    machine.types("head -c 40000000 /dev/urandom > /tmp/film.mp4")
    job = asked(machine, "/v1/objects/media/films/film.mp4", "--upload-file", "/tmp/film.mp4")
    eventually(lambda: asked(machine, f"/v1/jobs/{job['id']}")["state"] == "succeeded", "it has arrived")
    machine.types("cmp /tmp/film.mp4 /var/lib/bucketline/objects/films/film.mp4")
    assert machine.types("stat -c '%U %a' /var/lib/bucketline/objects/films/film.mp4").split() == ["bucketline", "600"]


def test_the_command_runs_as_the_services_do(machine: Machine) -> None:
    (said,) = [line.split("`")[1] for line in documents.read(PAGE).splitlines() if line.startswith("| run the command")]
    assert "media" in machine.types(said.replace("--pty", "--pipe --quiet"))


def test_more_workers_and_reload_and_a_place_of_ones_own(machine: Machine) -> None:
    assert "`systemctl enable --now bucketline-worker@3`" in documents.read(PAGE)
    machine.types("systemctl enable --now bucketline-worker@3")
    eventually(lambda: len(asked(machine, "/v1/stats")["workers"]) == 3, "three workers")
    machine.types("systemctl reload bucketline-worker@1")

    machine.types(
        "own=/etc/systemd/system/bucketline-worker@.service.d; install -d -o bucketline /srv/media $own\n"
        "printf '[Service]\\nReadWritePaths=/srv/media\\n' > $own/own.conf\n"
        "systemctl daemon-reload; systemctl restart 'bucketline-worker@*'\n"
        'printf \'[destinations.own]\\nbackend = "local"\\nroot = "/srv/media"\\n\' >> /etc/bucketline/plugins.toml'
    )
    eventually(lambda: "own" in {one["name"] for one in asked(machine, "/v1/destinations")["items"]}, "is followed")
    sent = ("/v1/objects/own/film.mp4", "--upload-file", "/tmp/film.mp4")
    eventually(lambda: "id" in asked(machine, *sent), "each process of the API follows it")
    eventually(lambda: asked(machine, "/v1/jobs?limit=1")["items"][0]["state"] == "succeeded", "it has arrived")
    machine.types("cmp /tmp/film.mp4 /srv/media/film.mp4")


def test_a_faulty_file_is_told_and_not_tried_for_ever(machine: Machine) -> None:
    machine.types("cp -p /etc/bucketline/plugins.toml /tmp/; echo 'backend =' >> /etc/bucketline/plugins.toml")
    machine.types("systemctl restart bucketline-worker@2")
    eventually(lambda: _state(machine, "bucketline-worker@2") == "failed", "it gave up")
    assert "plugins.toml: is no valid TOML" in machine.types("journalctl --no-pager --unit bucketline-worker@2")
    machine.types(
        "cp -p /tmp/plugins.toml /etc/bucketline/; systemctl reset-failed; systemctl start bucketline-worker@2"
    )


def _state(machine: Machine, unit: str) -> str:
    return machine.types(f"systemctl is-active {unit} || true").strip()


def test_stopped_in_order_nothing_is_left_and_no_unit_failed(machine: Machine) -> None:
    machine.types("systemctl stop bucketline-api; systemctl stop 'bucketline-*'")
    assert machine.types("pgrep --list-full bucketline || true") == ""
    assert machine.types("systemctl list-units --failed --no-legend 'bucketline-*'") == ""
