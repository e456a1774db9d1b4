"""The one table from problem codes to HTTP, with the shape of every error answer (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import falcon
import msgspec

from engine.errors import TITLES, EngineError

log = logging.getLogger("bucketline.api")

CONTENT_TYPE = "application/problem+json"


class Kind(NamedTuple):
    """What is constant for one problem code; a code of the engine has its title there."""

    status: int
    title: str = ""
    retryable: bool = False
    retry_after: int | None = None


TABLE: dict[str, Kind] = {
    # The request itself
    "bad_request": Kind(400, "The request is malformed"),
    "bad_json": Kind(400, "The JSON body cannot be read"),
    "bad_form": Kind(400, "The form cannot be read"),
    "bad_checksum": Kind(400, "The checksum cannot be read"),
    "bad_idempotency_key": Kind(400, "The Idempotency-Key cannot be read"),
    "bad_cursor": Kind(400, "The cursor is not one of ours"),
    "truncated": Kind(400, retryable=True),
    "key_in_query": Kind(400, "An API key does not belong in a URL"),
    "unauthorized": Kind(401, "An API key is needed"),
    "forbidden": Kind(403, "This is not allowed"),
    "token_used_up": Kind(403, "All uploads of this token are used up"),
    "host_refused": Kind(403, "This host name is not served without an API key"),
    "final_upload": Kind(403, "A final upload takes no bytes"),
    "origin_refused": Kind(403, "Requests from other sites are refused without an API key"),
    "no_resource": Kind(404, "There is nothing at this address"),
    "method_not_allowed": Kind(405, "This method is not allowed here"),
    "too_slow": Kind(408, "The body arrived too slowly", retryable=True),
    "too_large": Kind(413),
    "field_too_large": Kind(413, "A form field is too large"),
    "unsupported_media_type": Kind(415, "This kind of body is not accepted here"),
    "unsupported_encoding": Kind(415, "Compressed bodies are not accepted"),
    "expectation_failed": Kind(417, "This expectation cannot be met"),
    "unknown_coding": Kind(501, "This transfer coding is not implemented"),
    # What was asked for
    "invalid": Kind(422),
    "unknown_destination": Kind(422),
    "unknown_option": Kind(422, "There is no such option"),
    "checksum_mismatch": Kind(422),
    "idempotency_mismatch": Kind(422, "This Idempotency-Key was used for another request"),
    # The state of things
    "not_found": Kind(404),
    "conflict": Kind(409),
    "object_exists": Kind(409),
    "source_gone": Kind(409),
    "source_changed": Kind(409),
    "source_missing": Kind(409),
    "source_refused": Kind(409),
    "address_refused": Kind(409),
    "source_corrupt": Kind(409),
    "destination_changed": Kind(409),
    "poison": Kind(409),
    "worker_lost": Kind(409, retryable=True),
    "wrong_offset": Kind(409, "The upload goes on at another offset", retryable=True),
    "upload_gone": Kind(410),
    "tus_version": Kind(412, "This version of tus is not spoken here"),
    "wrong_node": Kind(421, "Another node has this upload"),
    "upload_busy": Kind(423, retryable=True),
    "idempotency_busy": Kind(409, "The first request with this Idempotency-Key is still running", retryable=True),
    "quota_exceeded": Kind(429, "A quota is used up", retryable=True, retry_after=10),
    "unexpected": Kind(500),
    "ledger_unavailable": Kind(503, retryable=True, retry_after=2),
    "spool_unavailable": Kind(503, retryable=True, retry_after=5),
    "unavailable": Kind(503, "The service is not available at the moment", retryable=True, retry_after=5),
    "stopping": Kind(503, "The server is stopping", retryable=True, retry_after=5),
    "check_timeout": Kind(504, retryable=True, retry_after=5),
    "spool_full": Kind(507, retryable=True, retry_after=30),
}

BY_STATUS = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "no_resource",
    405: "method_not_allowed",
    408: "too_slow",
    413: "too_large",
    415: "unsupported_media_type",
    417: "expectation_failed",
    422: "invalid",
    429: "quota_exceeded",
    500: "unexpected",
    503: "unavailable",
    504: "check_timeout",
    507: "spool_full",
}
"""For errors that arrive as a bare status (the framework's own)."""


class Problem(Exception):
    """An answer that is an error: a code of the table, and what a reader needs to act on it."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: Iterable[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        status: int | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(detail or code)
        kind = TABLE.get(code, TABLE["unexpected"])
        self.code = code
        self.status = status or kind.status
        self.title = title_of(code)
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})
        self.retryable = kind.retryable if retryable is None else retryable
        self.retry_after = kind.retry_after if retry_after is None else retry_after

    def body(self, *, request_id: str, instance: str) -> bytes:
        """The problem object as JSON; it holds nothing but what was put into it on purpose."""
        document: dict[str, Any] = {
            "type": f"/problems/{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail or self.title,
            "instance": instance,
            "code": self.code,
            "request_id": request_id,
            "retryable": self.retryable,
            "errors": self.errors,
        }
        return msgspec.json.encode(document)

    def all_headers(self) -> dict[str, str]:
        """The headers that go with the answer, `Retry-After` included."""
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers.setdefault("Retry-After", str(max(1, round(self.retry_after))))
        return headers


def invalid(pointer: str, detail: str, *, code: str = "invalid") -> Problem:
    """A problem with one member of the request, named by its JSON pointer."""
    return Problem(code, detail, errors=[{"pointer": pointer, "detail": detail}])


def title_of(code: str) -> str:
    """The constant title of a code: ours, or the engine's."""
    kind = TABLE.get(code)
    return (kind.title if kind else "") or TITLES.get(code, code.replace("_", " ").capitalize())


def from_engine(error: EngineError, *, status: int | None = None) -> Problem:
    """The problem that says what the engine said. A code without a status is an omission of ours, and is logged."""
    if error.code not in TABLE:
        log.error("no HTTP status for the engine's code %r: %s", error.code, error.detail)
        status = status or (503 if error.retryable else 500)
    retryable = error.retryable or (error.code in TABLE and TABLE[error.code].retryable)
    return Problem(
        error.code,
        error.detail,
        errors=error.errors,
        retry_after=error.retry_after,
        status=status,
        retryable=retryable,
    )


def from_framework(error: falcon.HTTPError) -> Problem:
    """The problem for an error that Falcon raised by itself (routing, malformed requests)."""
    if error.status_code == 405:
        return method_not_allowed(dict(error.headers or {}).get("Allow", ""))
    code = BY_STATUS.get(error.status_code, "bad_request" if error.status_code < 500 else "unexpected")
    detail = {
        "no_resource": "No resource has this address.",
    }.get(code, error.description or "")
    return Problem(code, detail, headers=dict(error.headers or {}), status=error.status_code)


def method_not_allowed(allow: str) -> Problem:
    """`allow`: what the address takes, as in the header of that name."""
    detail = f"This address takes {allow}." if allow else "This address does not know that method."
    return Problem("method_not_allowed", detail, headers={"Allow": allow})
