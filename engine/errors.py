"""What can go wrong between a caller and the engine: one class, told apart by a code.

EngineError(code, detail)        code is stable and public (API.md, problem types); one table below gives its title
├── Invalid                      the request is well-formed and impossible: pointers say where
├── NotFound                     no such job, destination or part
├── Conflict                     the job's state does not allow the command
├── ChecksumMismatch             the bytes are not those the client announced
├── SpoolFull, TooLarge          no room here; more than the limit
└── LedgerUnavailable            Redis did not answer: try again

What a provider can answer lives in `backends.errors`; `problem_of` turns either into the error object that jobs carry.
"""

from __future__ import annotations

from typing import Any

TITLES = {
    "invalid": "The request cannot be fulfilled as it stands",
    "unknown_destination": "There is no such destination",
    "not_found": "There is no such job",
    "conflict": "The job's state does not allow this",
    "source_gone": "The job's source is no longer available",
    "checksum_mismatch": "The bytes received are not the ones announced",
    "truncated": "The body ended too early",
    "too_large": "The file is larger than allowed",
    "spool_full": "There is no room for this file at the moment",
    "ledger_unavailable": "Redis does not answer",
    "spool_unavailable": "The spool cannot be written",
    "upload_gone": "This upload is over",
    "upload_busy": "Another request works on this upload",
    "poison": "A part kept killing the worker that sent it",
    "worker_lost": "The worker that had this was not heard of any more",
    "source_corrupt": "The staged file changed after it was accepted",
    "source_changed": "The source changed while it was read",
    "source_missing": "There is nothing where the source should be",
    "address_refused": "This address may not be imported from",
    "source_refused": "The source may not be read, or not in this way",
    "destination_changed": "The destination is no longer configured",
    "object_exists": "There is an object at this key already",
    "check_timeout": "No worker answered the check",
    "unexpected": "Something unforeseen happened",
}


class EngineError(Exception):
    """An error with a public code. `errors` points into the request: [{"pointer": "/destinations/0", "detail": …}]."""

    code = "unexpected"
    retryable = False

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        errors: list[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.retryable = type(self).retryable if retryable is None else retryable
        self.retry_after = retry_after
        self.errors = errors or []

    @property
    def title(self) -> str:
        return TITLES.get(self.code, self.code.replace("_", " ").capitalize())


class Invalid(EngineError):
    code = "invalid"


class NotFound(EngineError):
    code = "not_found"


class Conflict(EngineError):
    code = "conflict"


class ChecksumMismatch(EngineError):
    code = "checksum_mismatch"


class SpoolFull(EngineError):
    code = "spool_full"
    retryable = True


class SpoolUnavailable(EngineError):
    code = "spool_unavailable"
    retryable = True


class TooLarge(EngineError):
    code = "too_large"


class LedgerUnavailable(EngineError):
    code = "ledger_unavailable"
    retryable = True


class SourceCorrupt(EngineError):
    """The bytes in the spool (or at the source's path) are no longer those that were accepted."""

    code = "source_corrupt"


def problem_of(error: BaseException, *, retryable: bool | None = None) -> dict[str, Any]:
    """The error object of API.md for any error: code, title, detail, retryable. Unknown classes give their name only,
    never their text.
    """
    code = getattr(error, "code", None)
    if not isinstance(code, str):
        return {
            "code": "unexpected",
            "title": TITLES["unexpected"],
            "detail": f"{type(error).__name__} while working on this step; the worker's log has the whole story.",
            "retryable": True if retryable is None else retryable,
        }
    title = getattr(error, "title", None) or TITLES.get(code, code)
    detail = getattr(error, "detail", None) or str(error)
    says = bool(getattr(error, "retryable", False))
    return {"code": code, "title": title, "detail": detail, "retryable": says if retryable is None else retryable}
