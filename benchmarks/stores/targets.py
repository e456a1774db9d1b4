"""What a backend must reach beside its own library's upload: each target from the medians of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.figures import Results, ratio
from benchmarks.stores.contests import BY_SIZE, GENERIC, NATIVE, OURS, READ_BACK
from benchmarks.targets import Target

HALF = 0.5
CLOSE = 1.15
"""Within 15 %."""


Measure = Callable[[Results], float | None]


def _against(contest: str, figure: str, choose: Callable[[Sequence[str]], str], ours: str = OURS) -> Measure:
    def measure(results: Results) -> float | None:
        peer = choose([name for name in results.subjects(contest) if name not in (OURS, BY_SIZE)])
        return ratio(results.median(contest, ours, figure), results.median(contest, peer, figure))

    return measure


def _plain(peers: Sequence[str]) -> str:
    return next((name for name in peers if READ_BACK not in name), "")


def _reading_back(peers: Sequence[str]) -> str:
    return next((name for name in peers if READ_BACK in name), "")


def _native(contest: str) -> Target:
    return Target(f"{contest}: CPU per GB, × its library", _against(contest, "cpu_s_per_gb", _plain), HALF, False, "×")


def _generic(contest: str) -> list[Target]:
    claims = {
        "time until sent, × put_file": _against(contest, "sent_s", _plain),
        "time in all, × put_file and reading back": _against(contest, "seconds", _reading_back),
        'time in all, verify = "size", × put_file': _against(contest, "seconds", _plain, BY_SIZE),
    }
    return [Target(f"{contest}: {claim}", measure, CLOSE, False, "×") for claim, measure in claims.items()]


def proof(contest: str) -> Measure:
    """What reading back costs: the time of an upload that is proved, beside one that nobody looks at."""
    return _against(contest, "seconds", _plain)


TARGETS = [*map(_native, NATIVE), *(target for contest in GENERIC for target in _generic(contest))]
