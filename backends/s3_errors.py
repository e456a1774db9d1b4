"""What S3's error codes mean for us: the one table, and the way to it from an answer or an exception.

s3fs hides codes behind general exceptions (NoSuchUpload, NoSuchBucket and NoSuchKey are all FileNotFoundError), so the
original cause is classified. Texts hold the code and the provider's own message, never an address or a signature.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import unescape

from backends import errors
from backends.errors import BackendError
from backends.transport import Answer, network_error, retry_after


class NoSuchObject(errors.InvalidRequest):
    """There is no object at the key."""


_CODES: Mapping[type[BackendError], str] = {
    errors.Throttled: """429 503 SlowDown ServiceUnavailable Throttling ThrottlingException RequestThrottled
        RequestLimitExceeded TooManyRequests TooManyRequestsException BandwidthLimitExceeded XMinioServerBusy""",
    errors.Unavailable: "500 502 504 InternalError OperationAborted XMinioServerNotInitialized",
    errors.TimedOut: "408 RequestTimeout",
    errors.ConnectionFailed: "IncompleteBody",
    errors.CredentialsExpired: "ExpiredToken ExpiredTokenException TokenRefreshRequired RequestExpired",
    errors.AccessDenied: """401 403 AccessDenied AllAccessDisabled AccountProblem Forbidden InvalidAccessKeyId
        InvalidSecurity InvalidToken InvalidClientTokenId NotSignedUp RequestTimeTooSkewed SignatureDoesNotMatch
        Unauthorized UnauthorizedAccess""",
    errors.DestinationMissing: "NoSuchBucket InvalidBucketName",
    # A 409 of a conditional write means that somebody else is creating the key at this moment: they won.
    errors.ObjectExists: "409 412 PreconditionFailed ConditionalRequestConflict",
    # InvalidPart: the provider has no part with this number and ETag (any more), though it gave us the receipt. Only
    # sending the parts into a new session helps.
    errors.SessionLost: "NoSuchUpload InvalidPart",
    # EntityTooSmall is not among the lost sessions: the same plan would be refused again.
    errors.InvalidRequest: """301 307 400 405 411 413 501 AuthorizationHeaderMalformed EntityTooLarge EntityTooSmall
        InvalidArgument InvalidPartOrder InvalidRange InvalidRequest KeyTooLongError MalformedXML MetadataTooLarge
        MethodNotAllowed MissingContentLength NotImplemented PermanentRedirect Redirect""",
    errors.IntegrityError: "BadDigest InvalidDigest XAmzContentChecksumMismatch XAmzContentSHA256Mismatch",
    errors.StoreFull: "507 InsufficientCapacity QuotaExceeded XMinioStorageFull XMinioAdminBucketQuotaExceeded",
    NoSuchObject: "404 NoSuchKey NoSuchVersion",
}
TABLE: Mapping[str, type[BackendError]] = {code: kind for kind, codes in _CODES.items() for code in codes.split()}

_HINTS = {
    "RequestTimeTooSkewed": "the clocks here and at the provider are more than 15 minutes apart: set this one",
    "SignatureDoesNotMatch": "the secret, or the region, is not the one that belongs to this key",
    "InvalidAccessKeyId": "the provider does not know this access key",
    "301": "the bucket is in another region: set `region`",
    "PermanentRedirect": "the bucket is in another region: set `region`",
    "AuthorizationHeaderMalformed": "the request was signed for another region: set `region`",
    "EntityTooSmall": "a part other than the last is smaller than this provider allows: set `limits.part_size`",
}


def from_answer(answer: Answer, doing: str) -> BackendError:
    """The error that a refused HTTP request stands for."""
    text = answer.body.decode("utf-8", "replace")
    return classify(_element(text, "Code"), _element(text, "Message"), answer.status, answer.headers, doing)


def from_exception(error: BaseException, doing: str, where: str) -> BackendError:
    """The error that an exception of s3fs, botocore or aiohttp stands for. What we do not know is worth another try."""
    from aiohttp import ClientError as AiohttpError
    from botocore import exceptions as boto

    cause = error if isinstance(error, boto.ClientError) else error.__cause__
    if isinstance(cause, boto.ClientError):
        answer: dict[str, Any] = cause.response
        problem, meta = answer.get("Error", {}), answer.get("ResponseMetadata", {})
        code, message = str(problem.get("Code", "")), str(problem.get("Message", ""))
        return classify(code, message, meta.get("HTTPStatusCode", 0), meta.get("HTTPHeaders", {}), doing)
    if isinstance(error, (boto.ConnectTimeoutError, boto.ReadTimeoutError, asyncio.TimeoutError, TimeoutError)):
        return errors.TimedOut(f"{where} did not answer in time.")
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return errors.AccessDenied(f"Cannot {doing}: no complete credentials were found; set `key` and `secret`.")
    if isinstance(error, (boto.TokenRetrievalError, boto.SSOError)):
        return errors.CredentialsExpired(f"Cannot {doing}: the login behind the credentials has ended.")
    if isinstance(error, (boto.ParamValidationError, boto.ProfileNotFound, boto.InvalidRegionError)):
        return errors.InvalidRequest(f"Cannot {doing}: {_tidy(str(error))}")
    if isinstance(error, (boto.ConnectionError, boto.HTTPClientError, AiohttpError, OSError)):
        return network_error(error, where)
    return errors.TransientError(f"Cannot {doing}: {type(error).__name__}.")


def classify(code: str, message: str, status: int, headers: Mapping[str, str], doing: str) -> BackendError:
    """Look the code up, then the status; a hint for the person who must act follows the provider's own words."""
    kind = TABLE.get(code) or TABLE.get(str(status))
    if kind is None:
        kind = errors.Unavailable if status >= 500 or status < 400 else errors.InvalidRequest
    said = code if not code or code.isdigit() else f"{code} (HTTP {status})"
    hint = _HINTS.get(code or str(status), "")
    parts = [f"Cannot {doing}: {said or f'HTTP {status}'}", _tidy(message), hint[:1].upper() + hint[1:]]
    return kind(". ".join(part.rstrip(". ") for part in parts if part) + ".", retry_after=retry_after(headers))


def _element(text: str, name: str) -> str:
    found = re.search(f"<{name}>([^<]*)</{name}>", text)
    return unescape(found[1]).strip() if found else ""


def _tidy(text: str) -> str:
    """A provider's message as one short printable line, without anything that could be a signed address."""
    text = re.sub(r"(?i)(x-amz-(signature|credential|security-token)|signature|authorization)=\S+", r"\1=***", text)
    return "".join(letter if letter.isprintable() else " " for letter in text)[:300].strip()
