"""What follows a failed step: repeat it, give it up, begin the transfer again, or put it back as if it had not been."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import errors
from engine.errors import EngineError, LedgerUnavailable, SourceCorrupt
from engine.retry import Decision, GivenBack, Policy, decide

POLICY = Policy()
STEPS = ("begin", "whole", "part", "complete")
TRANSIENT = [errors.Throttled, errors.Unavailable, errors.TimedOut, errors.ConnectionFailed, errors.TransientError]
FINAL = [
    errors.AccessDenied, errors.DestinationMissing, errors.ObjectExists, errors.InvalidRequest, errors.StoreFull,
    errors.ShortBody, errors.PermanentError,
]  # fmt: skip
LONG_AGO = 10**9


def after(
    error: BaseException, *, step: str = "part", attempt: int = 1, failing_ms: int = 0, policy: Policy = POLICY,
    jitter: float = 0.5, alike: int = 1,
) -> Decision:  # fmt: skip
    figures = {"attempt": attempt, "alike": alike, "failing_ms": failing_ms}
    return decide(error, step=step, **figures, policy=policy, jitter=jitter)


# -- errors that may pass ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", TRANSIENT)
def test_what_may_pass_is_tried_again(kind: type[errors.BackendError], step: str) -> None:
    assert after(kind("…"), step=step).kind == "retry"


def test_it_is_given_up_only_when_both_the_attempts_and_the_time_are_used_up() -> None:
    error = errors.Unavailable("…")
    in_time, too_late = 599_999, 600_000

    assert after(error, attempt=7, failing_ms=LONG_AGO).kind == "retry"
    assert after(error, attempt=50, failing_ms=in_time).kind == "retry"
    assert after(error, attempt=8, failing_ms=too_late).kind == "fail"


@pytest.mark.parametrize("attempt", range(1, 8))
def test_the_wait_doubles_and_jitter_spreads_its_upper_half(attempt: int) -> None:
    full = 2_000 * 2 ** (attempt - 1)
    error = errors.Unavailable("…")

    assert after(error, attempt=attempt, jitter=0.0).delay_ms == full // 2
    assert after(error, attempt=attempt, jitter=0.999_999).delay_ms == pytest.approx(full, abs=2)


@given(attempt=st.integers(1, 10**9), jitter=st.floats(0, 1, exclude_max=True))
def test_no_wait_is_longer_than_the_cap(attempt: int, jitter: float) -> None:
    delay = after(errors.Unavailable("…"), attempt=attempt, jitter=jitter).delay_ms

    assert 1_000 <= delay <= POLICY.cap_seconds * 1000


@given(asked=st.floats(0, 3_600), attempt=st.integers(1, 20), jitter=st.floats(0, 1, exclude_max=True))
def test_it_is_never_sooner_than_the_provider_asked(asked: float, attempt: int, jitter: float) -> None:
    error = errors.Throttled("…", retry_after=asked)

    assert after(error, attempt=attempt, jitter=jitter).delay_ms >= int(asked * 1000)


def test_an_error_that_nobody_foresaw_is_tried_again() -> None:
    assert after(ZeroDivisionError()).kind == "retry"


def test_our_own_errors_say_whether_it_helps() -> None:
    assert after(LedgerUnavailable("…")).kind == "retry"
    assert after(EngineError("…", code="destination_changed")).kind == "fail"


def test_expired_credentials_get_one_more_try() -> None:
    error = errors.CredentialsExpired("…")

    assert after(error, alike=1).kind == "retry"
    assert after(error, alike=2).kind == "fail"
    assert after(error, attempt=7, alike=1).kind == "retry", "they expire amid a long upload, after other troubles"


# -- errors that stay -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", FINAL)
def test_what_stays_ends_the_transfer_at_once(kind: type[errors.BackendError], step: str) -> None:
    assert after(kind("…"), step=step) == Decision("fail")


def test_a_changed_source_is_not_sent_again() -> None:
    assert after(SourceCorrupt("…")).kind == "fail"


# -- the transfer begins again ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_a_lost_session_makes_the_transfer_begin_again(step: str) -> None:
    assert after(errors.SessionLost("…"), step=step) == Decision("restart")


def test_a_joined_object_with_other_bytes_makes_the_transfer_begin_again() -> None:
    assert after(errors.IntegrityError("…"), step="complete") == Decision("restart")


def test_a_spoiled_part_is_sent_again_a_few_times() -> None:
    error = errors.IntegrityError("…")

    assert [after(error, alike=n).kind for n in (1, 2, 3)] == ["retry", "retry", "fail"]
    assert after(error, attempt=7, alike=1).kind == "retry", "after other troubles, this is the first one of its kind"
    assert after(error, attempt=8, alike=1, failing_ms=LONG_AGO).kind == "fail"


# -- what costs nothing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [*STEPS, "end"])
def test_a_step_cut_short_by_a_shutdown_goes_back(step: str) -> None:
    assert after(GivenBack(), step=step, attempt=99, failing_ms=LONG_AGO) == Decision("snooze")


def test_no_library_on_the_way_can_take_it_for_a_failure() -> None:
    assert not issubclass(GivenBack, Exception)


# -- the end of a transfer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*FINAL, errors.SessionLost])
def test_an_end_that_cannot_be_reached_is_given_up_not_failed(kind: type[errors.BackendError]) -> None:
    """The transfer's fate is decided already; only the clearing away failed."""
    assert after(kind("…"), step="end") == Decision("give_up")


def test_an_end_is_insisted_on_while_that_may_help() -> None:
    assert after(errors.Unavailable("…"), step="end").kind == "retry"
    assert after(errors.Unavailable("…"), step="end", attempt=8, failing_ms=LONG_AGO).kind == "give_up"


@given(
    kind=st.sampled_from([*TRANSIENT, *FINAL, errors.SessionLost, errors.IntegrityError, errors.CredentialsExpired]),
    step=st.sampled_from([*STEPS, "end"]),
    attempt=st.integers(1, 100),
    failing_ms=st.integers(0, LONG_AGO),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_every_error_leads_somewhere_and_only_an_end_is_given_up(
    kind: type[errors.BackendError], step: str, attempt: int, failing_ms: int, jitter: float
) -> None:
    made = after(kind("…"), step=step, attempt=attempt, failing_ms=failing_ms, jitter=jitter)

    assert (made.kind == "give_up") <= (step == "end")
    assert (made.kind in ("fail", "restart")) <= (step != "end")
    assert (made.delay_ms > 0) == (made.kind == "retry")
