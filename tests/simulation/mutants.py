"""Planted bugs: what the simulation must catch, or it proves nothing.

Each is a small change of the real engine, in the text of a script or by a swapped decision. Each needs an event that
makes it matter (a frozen worker, a lost answer, an emptied Redis), so together they show that those events do happen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from backends.errors import BackendError
from engine import leases
from engine.driver import perform
from engine.records import Lease, pack_receipt
from engine.runtime import Errand, Runtime
from engine.work import Settled
from tests.simulation.servers import Patch

Swap = tuple[str, str, Any]


@dataclass(frozen=True)
class Mutant:
    """One planted bug. `scripts`: script → (old text, new text); `swaps`: (module, name, what to put there)."""

    name: str
    scripts: Mapping[str, Patch] = field(default_factory=dict)
    swaps: tuple[Swap, ...] = ()
    sweeps: bool = True
    since: int = 1
    """The seed to begin with: rare events need not be waited for from the start."""

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        """While this lasts, the swapped decisions are in place."""
        import importlib

        before: list[tuple[Any, str, Any]] = []
        for module_name, attribute, value in self.swaps:
            module = importlib.import_module(module_name)
            before.append((module, attribute, getattr(module, attribute)))
            setattr(module, attribute, value)
        try:
            yield
        finally:
            for module, attribute, value in before:
                setattr(module, attribute, value)


SOUND = Mutant("none")


def _nobody_looks(work: Any, instead: BackendError | None = None) -> Any:
    """`ours` that never finds anything."""
    yield from ()
    return None


def _everything_is_fine(work: Any, info: Any, *, proved: bool) -> Any:
    """`verified` that believes every provider."""
    yield from ()
    return Settled(info, "", "faith", "")


def _record_first(runtime: Runtime, errand: Errand) -> Any:
    """`perform` that puts a part on record before it is sent."""
    held: Lease = errand.lease
    if held.step != "part":
        return perform(runtime, errand)
    offset = (held.number - 1) * held.part_size
    body = runtime.source(held).body(offset, min(held.part_size, held.size - offset))
    packed = pack_receipt(f'"{body.crc32c or 0:08x}"', "", body.crc32c, held.attempt)
    runtime.ledger.run(leases.record(held, body.size, packed, False))
    perform(runtime, errand)
    return None


def _no_report(*args: Any, **kwargs: Any) -> Any:
    from engine.reconcile import Report

    return Report()


def _only_the_sidecar(sidecar: Any, added: list[Any]) -> Any:
    """`merged` that forgets what was added."""
    return sidecar


FENCE = "if redis.call('HGET', t .. ':fences', 0) ~= fence then"
_never: Callable[..., None] = lambda *_: None  # noqa: E731

MUTANTS = [
    Mutant("a stale fence may settle", {"settle": (FENCE, "if false then")}, since=800),
    Mutant("a stale fence may end", {"ended": (FENCE, "if false then")}),
    Mutant("nobody sweeps", sweeps=False),
    Mutant("tokens are never minted again", {"sweep": ("if work > 0 and room[lane] > 0", "if false")}),
    Mutant(
        "a counter decides completion",
        {
            "record": (
                "redis.call('HLEN', t .. ':receipts') == tonumber(v[2])",
                "redis.call('HINCRBY', t, 'reports', 1) >= tonumber(v[2]) - 1",
            )
        },
    ),
    Mutant("nobody looks whether complete had an effect", swaps=(("engine.steps", "ours", _nobody_looks),)),
    Mutant("a part is recorded before it is sent", swaps=(("tests.simulation.workers", "perform", _record_first),)),
    Mutant(
        "what is stored is not verified",
        swaps=tuple((f"engine.{module}", "verified", _everything_is_fine) for module in ("steps", "verification")),
    ),
    Mutant("ends on disk are not looked at", swaps=(("engine.reconcile", "_ends", _never),)),
    Mutant("nothing is reconciled", swaps=(("engine.sweeper", "reconcile", _no_report),)),
    Mutant(
        "cancel has one phase",
        {
            "prelude": (
                "if T.state ~= 'pending' or num(T.intent) > 0 or T.lost_begin ~= '0' then return true end",
                "",
            )
        },
    ),
    Mutant("leases never run out", {"prelude": ("'(' .. now, now + num(T.lease_max))", "'-inf', '+inf')")}),
    Mutant("the window is not kept", {"prelude": ("math.min(num(T.window) - live, work)", "work")}),
    Mutant("parts overtake where order matters", {"prelude": ("if T.ordered == '1' and again == 0", "if false")}),
    Mutant(
        "two jobs write one key at once",
        {"prelude": ("redis.call('ZRANGE', claim_of(T), 0, 0)[1] ~= tid", "false")},
    ),
    Mutant(
        "what was shown as sent is forgotten",
        {"prelude": ("'floor', math.max(num(T.floor), num(T.sent)),", "'floor', 0,")},
    ),
    Mutant(
        "what was sent of a file that never came is left there",
        {"prelude": ("    cancel_transfer(id .. '/' .. n)\n", "    finish_transfer(id .. '/' .. n, 'cancelled')\n")},
    ),
    Mutant(
        "an object is made of a file that is still being received",
        {"record": (" and redis.call('HGET', job_key(id), 'state') ~= 'receiving'", "")},
    ),
    Mutant(
        "parts are sent before they have come",
        {"received": ("math.floor(readable / num(T.part_size))", "num(T.total)")},
    ),
    Mutant(
        "who sent all parts early never completes",
        {"accept": ("    redis.call('HSET', t, 'state', 'completing')\n", "")},
    ),
    Mutant(
        "an actor hears of ends that it was not named for",
        {"prelude": ("state == 'succeeded' and 'on_success' or 'on_failure'", "'on_failure'")},
    ),
    Mutant(
        "what was added is not looked for on disk", swaps=(("engine.known", "merged", _only_the_sidecar),), since=4900
    ),
    Mutant("the end of a job is not owed to who asked for it", {"prelude": ("  owe_hook(id, J, state)\n", "")}),
]


def named(name: str) -> Mutant:
    """The mutant whose name begins so; LookupError when there is none."""
    found = [one for one in MUTANTS if one.name.startswith(name)]
    if not found:
        raise LookupError(f"no mutant is called {name!r}; there are: {', '.join(one.name for one in MUTANTS)}")
    return found[0]
