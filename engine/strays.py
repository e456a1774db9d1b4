"""Sessions that a lost `begin` of a transfer may have opened at its provider."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from engine.work import Call, Work

CLOCK_SKEW_MS = 120_000  # a provider's clock against ours


def close_strays(work: Work, *, all_of_them: bool) -> Generator[Call, Any, None]:
    """Aborts them: those at exactly our key, not begun before our intent, and never any other."""
    held = work.lease
    if not held.lost_begin or "ListsSessions" not in work.abilities:
        return
    for stray in (yield Call("list_sessions", (held.key,))):
        own = not all_of_them and stray.session == held.session
        recent = stray.started_at_ms is None or stray.started_at_ms >= held.intent_ms - CLOCK_SKEW_MS
        if stray.key == held.key and recent and not own:
            yield Call("abort", (stray.session,))
