"""The supervisor: what dies is started again, what is stopped is stopped in order, and nothing is left behind."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bucketline.stack import LONGEST_PAUSE_SECONDS, pause_before_restart, trim_log
from tests.servers import eventually

# A stack of small programs in the place of Valkey, API and workers; each writes what happens to it into `events`.
STACK = """
import sys
from pathlib import Path
from bucketline.exits import Failure
from bucketline.stack import Child, Stack

here = Path.cwd()

def child(name, stops, body="wait()"):
    program = f'''
import os, signal, sys, time
def tell(what):
    with open("events", "a") as file:
        file.write(f"{name} {{what}} {{os.getpid()}}\\\\n")
def stop(*_):
    tell("stopped")
    sys.exit(0)
def wait():
    signal.signal(signal.SIGTERM, stop)
    tell("started")
    while True:
        time.sleep(60)
{body}
'''
    return Child(name, ["exec", sys.executable, "-c", program], here / f"{name}.log", 5.0, stops)

def events():
    return (here / "events").read_text() if (here / "events").exists() else ""

def say(*lines):
    print(*lines, file=sys.stderr, flush=True)

import os
CHILDREN
stack = Stack([([first], lambda: "first started" in events()), (others, lambda: True)], os.environ, say,
              lambda: print("ready", flush=True))
try:
    sys.exit(stack.run())
except Failure as failure:
    say(*failure.lines)
    sys.exit(failure.code)
"""

ORDINARY = 'first = child("first", 3)\nothers = [child("api", 1), child("one", 2), child("two", 2)]'


def run(directory: Path, children: str = ORDINARY) -> "subprocess.Popen[str]":
    program = STACK.replace("CHILDREN", textwrap.dedent(children))
    return subprocess.Popen(
        [sys.executable, "-c", program], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def events(directory: Path) -> list[tuple[str, str, int]]:
    file = directory / "events"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(name, what, int(pid)) for name, what, pid in (line.split() for line in lines if line.count(" ") == 2)]


def started(directory: Path) -> dict[str, int]:
    """The latest process of each child."""
    return {name: pid for name, what, pid in events(directory) if what == "started"}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie, which its parent has not looked at yet, does nothing any more.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def await_all(directory: Path, names: int = 4) -> dict[str, int]:
    eventually(lambda: len(started(directory)) == names, "all children have started")
    return started(directory)


def test_children_stop_in_order_and_the_stack_ends_with_0(tmp_path: Path) -> None:
    stack = run(tmp_path)
    pids = await_all(tmp_path)
    stack.send_signal(signal.SIGTERM)
    out, _ = stack.communicate(timeout=20)
    assert (stack.returncode, out) == (0, "ready\n")
    order = [name for name, what, _ in events(tmp_path) if what == "stopped"]
    assert order[0] == "api"
    assert sorted(order[1:3]) == ["one", "two"]
    assert order[3] == "first"
    assert not any(alive(pid) for pid in pids.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_and_a_closed_terminal_are_orderly_stops(tmp_path: Path, number: signal.Signals) -> None:
    stack = run(tmp_path)
    await_all(tmp_path)
    stack.send_signal(number)
    stack.communicate(timeout=20)
    assert stack.returncode == 0


def test_what_comes_first_answers_before_the_others_start(tmp_path: Path) -> None:
    stack = run(tmp_path)
    await_all(tmp_path)
    assert events(tmp_path)[0][0] == "first"
    stack.kill()
    stack.communicate()


def test_a_killed_child_is_started_again_and_the_others_are_left_alone(tmp_path: Path) -> None:
    stack = run(tmp_path)
    before = await_all(tmp_path)
    os.kill(before["one"], signal.SIGKILL)
    eventually(lambda: started(tmp_path)["one"] != before["one"], "the worker is back")
    after = started(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"one"}
    stack.send_signal(signal.SIGTERM)
    _, err = stack.communicate(timeout=20)
    assert "one was killed by SIGKILL; it is started again in 0.1 s" in err


def test_nothing_is_left_when_the_supervisor_itself_is_killed(tmp_path: Path) -> None:
    stack = run(tmp_path)
    pids = await_all(tmp_path)
    stack.kill()
    stack.communicate()
    eventually(lambda: not any(alive(pid) for pid in pids.values()), "every child is gone")


def test_grandchildren_of_a_killed_child_end_with_it(tmp_path: Path) -> None:
    """gunicorn's worker would go on holding the port that the next one wants."""
    children = """
    forks = "os.fork()\\nwait()"
    first = child("first", 3)
    others = [child("api", 1, forks)]
    """
    stack = run(tmp_path, children)
    eventually(lambda: len([e for e in events(tmp_path) if e[0] == "api"]) == 2, "both processes have started")
    family = [pid for name, _, pid in events(tmp_path) if name == "api"]
    leader = next(pid for pid in family if os.getpgid(pid) == pid)
    os.kill(leader, signal.SIGKILL)
    eventually(lambda: not any(alive(pid) for pid in family), "the whole family is gone")
    stack.send_signal(signal.SIGTERM)
    stack.communicate(timeout=20)
    assert stack.returncode == 0


def test_a_child_that_cannot_start_ends_the_stack_with_its_last_words(tmp_path: Path) -> None:
    children = """
    first = child("first", 3, "print('no such directory', file=sys.stderr); sys.exit(3)")
    others = []
    """
    stack = run(tmp_path, children)
    _, err = stack.communicate(timeout=20)
    assert stack.returncode == 1
    assert "first ended with exit code 3, 3 times" in err
    assert "no such directory" in err


def test_a_faulty_configuration_is_not_tried_twice(tmp_path: Path) -> None:
    children = """
    first = child("first", 3)
    others = [child("api", 1, "print('BUCKETLINE_X takes a number', file=sys.stderr); sys.exit(78)"), child("one", 2)]
    """
    program = STACK.replace("(others, lambda: True)", "(others, lambda: False)")
    program = program.replace("CHILDREN", textwrap.dedent(children))
    stack = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert stack.returncode == 78
    assert "BUCKETLINE_X takes a number" in stack.stderr
    assert not any(alive(pid) for _, _, pid in events(tmp_path))


def test_a_child_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    children = """
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\\ntell('started')\\nwhile True: time.sleep(60)"
    first = child("first", 3)
    others = [child("one", 2, deaf)]
    others[0].stop_seconds = 0.2
    """
    stack = run(tmp_path, children)
    pids = await_all(tmp_path, 2)
    stack.send_signal(signal.SIGTERM)
    stack.communicate(timeout=20)
    assert stack.returncode == 0
    assert not alive(pids["one"])


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    children = """
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\\ntell('started')\\nwhile True: time.sleep(60)"
    first = child("first", 3)
    others = [child("one", 2, deaf)]
    others[0].stop_seconds = 3600
    """
    stack = run(tmp_path, children)
    pids = await_all(tmp_path, 2)
    stack.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        stack.wait(timeout=0.5)
    stack.send_signal(signal.SIGINT)
    stack.communicate(timeout=20)
    assert not alive(pids["one"])


def test_the_first_death_is_mended_within_a_second_and_a_crash_loop_slows_down() -> None:
    pauses = [pause_before_restart(deaths) for deaths in range(1, 20)]
    assert pauses[0] < 1
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_SECONDS


def test_a_big_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bucketline.stack.BIGGEST_LOG", 3)
    log = tmp_path / "api.log"
    for text in ("old1", "old2", "new"):
        log.write_text(text)
        trim_log(log)
    assert log.read_text() == "new"
    assert (tmp_path / "api.log.1").read_text() == "old2"


@pytest.mark.skipif(sys.platform != "linux", reason="sessions are weighed against each other on Linux")
def test_a_worker_gives_way_to_other_sessions_too() -> None:
    program = "import os; from bucketline.child import give_way; was = os.nice(0); give_way(7); print(os.nice(0) - was)"
    program += (
        "; print(open('/proc/self/autogroup').read() if os.access('/proc/self/autogroup', os.W_OK) else 'nice 7')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, start_new_session=True, check=True
    )
    own, session = done.stdout.splitlines()[:2]
    assert own == "7", done.stderr
    assert session.endswith("nice 7")
