"""What Google's error codes mean for us: the one table, and the way to it from an answer or an exception.

The JSON API names a reason, the XML API a code, and both an HTTP status; all are looked up in one table. Texts hold the
code and the provider's own message, never an address, a token or what a key file holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import unescape

import msgspec

from backends import errors
from backends.errors import BackendError
from backends.transport import Answer, network_error, retry_after


class NoSuchObject(errors.InvalidRequest):
    """There is no object at the key."""


_CODES: Mapping[type[BackendError], str] = {
    errors.Throttled: """429 SlowDown TooManyRequests rateLimitExceeded userRateLimitExceeded quotaExceeded
        usageLimits""",
    errors.Unavailable: """409 500 502 503 504 backendError conflict internalError InternalError OperationAborted
        ServiceUnavailable""",
    errors.TimedOut: "408 RequestTimeout uploadBrokenConnection",
    errors.ConnectionFailed: "IncompleteBody",
    # With no credentials at all, the client makes AccessDenied of these.
    errors.CredentialsExpired: "401 authError AuthenticationRequired ExpiredToken",
    errors.AccessDenied: """403 AccessDenied forbidden InsufficientPermission insufficientPermissions InvalidSecurity
        UserProjectAccountProblem UserProjectMissing""",
    errors.DestinationMissing: "NoSuchBucket InvalidBucketName",
    errors.ObjectExists: "412 conditionNotMet PreconditionFailed",
    # InvalidPart: Google has no part with this number and ETag (any more), though it gave us the receipt.
    errors.SessionLost: "NoSuchUpload InvalidPart",
    # EntityTooSmall is not among the lost sessions: the same plan would be refused again.
    errors.InvalidRequest: """301 307 400 405 411 413 414 416 501 badRequest EntityTooLarge EntityTooSmall invalid
        InvalidArgument invalidParameter InvalidPartOrder InvalidURI KeyTooLongError MalformedXML MetadataTooLarge
        MethodNotAllowed NotImplemented requestedRangeNotSatisfiable uploadTooLarge""",
    errors.IntegrityError: "BadDigest InvalidDigest",
    errors.StoreFull: "507",
    NoSuchObject: "404 NoSuchKey notFound",
}
TABLE: Mapping[str, type[BackendError]] = {code: kind for kind, codes in _CODES.items() for code in codes.split()}

# The JSON API has one reason for several things, and only the message tells them apart.
_SAID = (
    (re.compile(r"bucket .*(does not|doesn't) exist", re.IGNORECASE), "NoSuchBucket"),
    (re.compile(r"(crc32c|md5).*(doesn't|does not) match", re.IGNORECASE | re.DOTALL), "BadDigest"),
)
_HINTS = {
    "403": "the service account needs the role Storage Object User on this bucket",
    "UserProjectMissing": "the requester pays in this bucket: set `user_project`",
    "EntityTooSmall": "a part other than the last is smaller than 5 MiB: set `limits.part_size`",
}


def from_answer(answer: Answer, doing: str) -> BackendError:
    """The error that a refused request stands for."""
    text = answer.body.decode("utf-8", "replace")
    if text.lstrip().startswith("{"):
        code, message = _of_json(answer.body)
    else:
        code, message = _element(text, "Code"), _element(text, "Message")
    code = next((meant for pattern, meant in _SAID if pattern.search(message)), code)
    return classify(code, message, answer.status, answer.headers, doing)


def from_exception(error: BaseException, doing: str, where: str) -> BackendError:
    """The error that an exception of gcsfs, google-auth or requests stands for, while credentials are looked for."""
    from google.auth import exceptions as auth

    cause = error.__cause__ or error
    if isinstance(error, BackendError):
        return error
    if isinstance(cause, auth.TransportError):
        return network_error(error, where)
    if isinstance(cause, auth.RefreshError):
        told = _tidy(str(cause.args[0])) if cause.args else ""
        kind: type[BackendError] = errors.Unavailable if cause.retryable else errors.AccessDenied
        return kind(f"Cannot {doing}: Google gave no access token. {told}".rstrip(". ") + ".")
    if isinstance(cause, auth.GoogleAuthError):
        return errors.AccessDenied(
            f"Cannot {doing}: no credentials were found; set `credentials_file`, or give the machine a service account."
        )
    if isinstance(cause, OSError):
        return network_error(error, where)
    return errors.TransientError(f"Cannot {doing}: {type(error).__name__}.")


def classify(code: str, message: str, status: int, headers: Mapping[str, str], doing: str) -> BackendError:
    """Look the code up, then the status; a hint for the person who must act follows the provider's own words."""
    kind = TABLE.get(code) or TABLE.get(str(status))
    if kind is None:
        kind = errors.Unavailable if status >= 500 or status < 400 else errors.InvalidRequest
    hint = _HINTS.get(code) or (_HINTS["403"] if kind is errors.AccessDenied and status == 403 else "")
    said = f"{code} (HTTP {status})" if code else f"HTTP {status}"
    parts = [f"Cannot {doing}: {said}", _tidy(message), hint[:1].upper() + hint[1:]]
    return kind(". ".join(part.rstrip(". ") for part in parts if part) + ".", retry_after=retry_after(headers))


def _of_json(body: bytes) -> tuple[str, str]:
    """The reason and the message of an answer of the JSON API."""
    try:
        problem: Any = msgspec.json.decode(body)["error"]
        if isinstance(problem, str):  # as the token endpoint says it
            return problem, ""
        details = problem.get("errors") or [{}]
        return str(details[0].get("reason", "")), str(problem.get("message", ""))
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError):
        return "", ""


def _element(text: str, name: str) -> str:
    found = re.search(f"<{name}>([^<]*)</{name}>", text)
    return unescape(found[1]).strip() if found else ""


def _tidy(text: str) -> str:
    """A provider's message as one short printable line, without anything that could be a token or a signed address."""
    text = re.sub(r"(?i)((x-goog-)?(signature|credential)|access_token|authorization)[=:]\s*\S+", r"\1=***", text)
    text = re.sub(r"ya29\.\S+|[Bb]earer\s+\S+", "***", text)
    return "".join(letter if letter.isprintable() else " " for letter in text)[:300].strip()
