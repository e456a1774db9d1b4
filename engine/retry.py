"""What happens after a step failed: the one place that decides about repeating. Pure: clock and jitter come from the
caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

from backends.errors import CredentialsExpired, IntegrityError, PermanentError, SessionLost, ShortBody
from engine.errors import EngineError

Kind = Literal["retry", "fail", "restart", "snooze", "give_up"]


@dataclass(frozen=True, slots=True)
class Policy:
    """How long to insist. A transient error ends the transfer only after `attempts` tries AND `budget_seconds` since
    the first failure.
    """

    attempts: int = 8
    base_seconds: float = 2.0
    cap_seconds: float = 300.0
    budget_seconds: float = 600.0
    integrity_attempts: int = 3
    """In a row: what failed for another reason between them says nothing about the bytes."""
    expired_attempts: int = 2
    """In a row: one refresh for each time that credentials expire."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and when it is due again."""

    kind: Kind
    delay_ms: int = 0


class GivenBack(BaseException):
    """The step was not done for a reason that is nobody's fault (shutdown): it goes back without costing an attempt.

    Not an Exception, so that no `except Exception` of a library on the way takes it for a failure of its own.
    """


def decide(
    error: BaseException, *, step: str, attempt: int, alike: int, failing_ms: int, policy: Policy, jitter: float
) -> Decision:
    """Decides about a failed step.

    attempt: the one that failed, from 1. alike: how many of these failed in a row as this one did, itself included.
    failing_ms: time since this step's first failure. jitter: uniform in [0, 1).
    """
    if isinstance(error, GivenBack):
        return Decision("snooze")
    stop: Kind = "give_up" if step == "end" else "fail"
    if step != "end" and isinstance(error, SessionLost):
        return Decision("restart")
    limit: float = inf
    if isinstance(error, IntegrityError) and not isinstance(error, ShortBody):
        if step == "complete":
            return Decision("restart")
        limit = policy.integrity_attempts
    elif isinstance(error, CredentialsExpired):
        limit = policy.expired_attempts
    elif isinstance(error, PermanentError) or (isinstance(error, EngineError) and not error.retryable):
        return Decision(stop)
    if alike >= limit or (attempt >= policy.attempts and failing_ms >= policy.budget_seconds * 1000):
        return Decision(stop)
    return Decision("retry", _delay_ms(error, attempt, policy, jitter))


def _delay_ms(error: BaseException, attempt: int, policy: Policy, jitter: float) -> int:
    """Exponential with full width of jitter above half, never before what the provider asked for (Retry-After)."""
    ceiling = min(policy.cap_seconds, policy.base_seconds * 2 ** min(attempt - 1, 20))
    wait = ceiling / 2 + jitter * ceiling / 2
    asked = getattr(error, "retry_after", None) or 0.0
    return int(max(wait, asked) * 1000)
