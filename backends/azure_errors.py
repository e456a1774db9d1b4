"""What Azure's error codes mean for us: the one table, and the way to it from an answer or an exception.

The code is in the header `x-ms-error-code` and, but for HEAD, in the body. Texts hold the code and the provider's own
message, never an address, a signature or a token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.sax.saxutils import unescape

from backends import errors
from backends.errors import BackendError
from backends.transport import Answer, network_error, retry_after


class NoSuchBlob(errors.InvalidRequest):
    """There is no blob of this name."""


class StaleToken(errors.CredentialsExpired):
    """The token was not accepted; the client makes AccessDenied of it where no fresh one can be had."""


_CODES: Mapping[type[BackendError], str] = {
    errors.Throttled: "429 ServerBusy AccountIngressLimitExceeded TooManyRequests IngressIsOverAccountLimit",
    errors.Unavailable: """500 502 503 504 InternalError ContainerBeingDeleted OperationNotAllowedOnIncrementalCopyBlob
        AccountBeingCreated SystemInUse SourceConditionNotMet""",
    errors.TimedOut: "408 OperationTimedOut RequestTimeout",
    errors.ConnectionFailed: "IncompleteBody",
    StaleToken: "401 ExpiredAuthenticationToken InvalidAuthenticationInfo NoAuthenticationInformation",
    errors.AccessDenied: """403 AccountIsDisabled AuthenticationFailed AuthorizationFailure
        AuthorizationPermissionMismatch AuthorizationProtocolMismatch AuthorizationResourceTypeMismatch
        AuthorizationServiceMismatch AuthorizationSourceIPMismatch BlobImmutableDueToPolicy
        InsufficientAccountPermissions LeaseIdMissing PublicAccessNotPermitted SnapshotsPresent""",
    errors.DestinationMissing: """ContainerNotFound ContainerDisabled ResourceTypeMismatch
        AccountNotFound EncryptionScopeNotFound""",
    errors.ObjectExists: "BlobAlreadyExists 412 ConditionNotMet",
    errors.SessionLost: "InvalidBlockList",
    errors.InvalidRequest: """400 405 409 411 413 414 416 BlobArchived BlockCountExceedsLimit BlockListTooLong
        FeatureVersionMismatch InvalidBlobOrBlock InvalidBlobType InvalidBlockId InvalidHeaderValue InvalidInput
        InvalidMetadata InvalidQueryParameterValue InvalidRange InvalidResourceName InvalidTags InvalidUri
        MetadataTooLarge MissingContentLengthHeader OutOfRangeInput RequestBodyTooLarge RequestUrlFailedToParse
        UnsupportedHeader""",
    errors.IntegrityError: "Crc64Mismatch InvalidMd5 Md5Mismatch",
    errors.StoreFull: "507 InsufficientStorage AccountLimitExceeded",
    NoSuchBlob: "404 BlobNotFound ResourceNotFound",
}
TABLE: Mapping[str, type[BackendError]] = {code: kind for kind, codes in _CODES.items() for code in codes.split()}

_HINTS = {
    "AuthenticationFailed": "the key, SAS or clock of this machine is wrong, or the SAS has expired",
    "AuthorizationPermissionMismatch": "the identity needs the role Storage Blob Data Contributor on this container",
    "LeaseIdMissing": "somebody holds a lease on the blob",
    "SourceConditionNotMet": "the source was replaced while it was copied",
    "InvalidBlobOrBlock": "blocks of another tool wait at this name; they are gone after 7 days, or choose another key",
}


def from_answer(answer: Answer, doing: str) -> BackendError:
    """The error that a refused request stands for."""
    text = answer.body.decode("utf-8", "replace")
    code = answer.headers.get("x-ms-error-code") or _element(text, "Code")
    return classify(code, _element(text, "Message"), answer.status, answer.headers, doing)


def classify(code: str, message: str, status: int, headers: Mapping[str, str], doing: str) -> BackendError:
    """Look the code up, then the status; a hint for the person who must act follows the provider's own words."""
    kind = TABLE.get(code) or TABLE.get(str(status))
    if kind is None:
        kind = errors.Unavailable if status >= 500 or status < 400 else errors.InvalidRequest
    said = f"{_tidy(code)} (HTTP {status})" if code else f"HTTP {status}"
    hint = _HINTS.get(code, "")
    parts = [f"Cannot {doing}: {said}", _tidy(message), hint[:1].upper() + hint[1:]]
    return kind(". ".join(part.rstrip(". ") for part in parts if part) + ".", retry_after=retry_after(headers))


def from_exception(error: BaseException, doing: str) -> BackendError:
    """The error that an exception of azure-identity or azure-core stands for, while a token is fetched."""
    from azure.core import exceptions as core

    if isinstance(error, BackendError):
        return error
    if isinstance(error, core.ClientAuthenticationError):  # an unavailable source of credentials is one of them
        return errors.AccessDenied(
            f"Cannot {doing}: Microsoft Entra ID gave no token ({type(error).__name__}). Check `client_id`, "
            "`client_secret` and `tenant_id`, or give the machine an identity."
        )
    if isinstance(error, core.ServiceRequestError | core.ServiceResponseError | OSError):
        return network_error(error, "Microsoft Entra ID")
    return errors.AccessDenied(f"Cannot {doing}: the credentials cannot be used ({type(error).__name__}).")


def _element(text: str, name: str) -> str:
    found = re.search(f"<{name}>([^<]*)</{name}>", text)
    return unescape(found[1]).strip() if found else ""


def _tidy(text: str) -> str:
    """A provider's message as one short printable line: its first, which comes before what was signed."""
    line = text.strip().partition("\n")[0]
    line = re.sub(r"(?i)(sig|signature|authorization|sharedkey|bearer)[=: ]+\S+", r"\1=***", line)
    return "".join(letter if letter.isprintable() else " " for letter in line)[:300].strip()
