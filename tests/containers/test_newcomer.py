"""A newcomer on a Debian with Python, make and curl, and nothing else: no compiler, no server, no network by now."""

from __future__ import annotations

from tests import documents
from tests.containers.machine import Machine

UNTIL_READY = "timeout 60 bash -c 'until curl -sf http://127.0.0.1:8000/readyz >/dev/null; do sleep 0.2; done'\n"
ENDING = "set -m; trap 'kill -INT -- $(jobs -p | sed s/^/-/) 2>/dev/null || true; wait' EXIT\n"
"""Whatever a shell leaves in the background ends with it, also where a line before the last one fails."""
ENDED = "\nkill -INT -- -$!; wait $! || true\n"
"""As Ctrl-C in a terminal reaches all of a command line."""
COLLECTOR = """\
import http.server, pathlib
class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open("/root/spans", "ab") as file: file.write(self.path.encode() + b" " + body)
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", 4318), Collector).serve_forever()
"""


def test_there_is_no_compiler(machine: Machine) -> None:
    machine.types("! command -v cc gcc c99")


def test_the_first_two_commands_of_the_readme(machine: Machine) -> None:
    demo, up = documents.block("README.md", "run: two commands").splitlines()

    said = machine.types(f"cd /root/bucketline; {demo}")
    assert said.rstrip().endswith("Everything arrived.")
    assert said.count("byte-identical") == 4

    sent = "echo hello >/tmp/hello; curl -s -T /tmp/hello http://127.0.0.1:8000/v1/objects/media/hello"
    said = machine.types(ENDING + f"cd /root/bucketline; {up.partition('#')[0].strip()} &\n{UNTIL_READY}{sent}{ENDED}")
    assert '"state":' in said


def test_the_trial_of_a_plug_in(machine: Machine) -> None:
    """Its environment is the one of the guide; the destination is one that needs nothing."""
    block = documents.block("docs/backends/write-your-own.md", "run: up and put").replace("up &", "up &\nup=$!")
    before = (
        ENDING + ". /root/trial/bin/activate; mkdir -p /root/mine; cd /root/mine; echo abc >some.file\n"
        "bucketline init --name trial --backend local --root objects --yes\n"
    )
    machine.types(before + block + "kill -INT -- -$up; wait $up || true")
    assert machine.types("find /root/mine/objects -name some.file -exec cat {} +") == "abc\n"


def test_spans_come_to_the_collector(machine: Machine) -> None:
    _, variables, up = documents.block("docs/tracing.md", "run: otel").splitlines()
    host = variables.partition("http://")[2].partition(":")[0]
    before = (
        f"{ENDING}cat >/root/collector.py <<'E'\n{COLLECTOR}E\necho 127.0.0.1 {host} >>/etc/hosts\n"
        "python3 /root/collector.py 2>/dev/null & collector=$!\n"
        ". /root/traced/bin/activate; mkdir -p /root/spanned; cd /root/spanned; bucketline init --yes\n"
    )
    sent = "echo hello >hello; bucketline put hello 2>/dev/null"
    machine.types(f"{before}{variables}\n{up} &\n{UNTIL_READY}{sent}{ENDED}kill $collector")
    said = machine.types("cat -v /root/spans")
    assert said.startswith("/v1/traces ")
    assert "put_part" in said or "put_whole" in said
