"""The errors a backend may raise, each of which says whether trying again can help.

    BackendError
    ├── TransientError            trying the same call again may help
    │   ├── Throttled             the provider asked us to slow down
    │   ├── Unavailable           the provider has trouble of its own
    │   ├── TimedOut              no answer in time; the call may still have had its effect
    │   ├── ConnectionFailed      no connection, or it broke
    │   └── CredentialsExpired    helps once, after the credentials were refreshed
    └── PermanentError            somebody must change something first
        ├── AccessDenied          the credentials or permissions do not allow it
        ├── DestinationMissing    the bucket, container or directory does not exist
        ├── ObjectExists          create-only, and the key is taken
        ├── InvalidRequest        the provider or backend refuses the request as such
        ├── IntegrityError        what was stored is not what was sent
        │   └── ShortBody         the source ended before its promised size, or cannot be read
        ├── StoreFull             the quota or disk is used up
        └── SessionLost           the multipart session is gone; the transfer can start again

Each backend keeps exactly one table from its provider's codes to these classes, and classifies from the original cause.
"""

from __future__ import annotations

from typing import ClassVar


class BackendError(Exception):
    """A call to a backend failed. `detail` is for the person who must act and never holds a secret or a signed URL.

    `code` is a stable word for programs, `title` the same for every error of a kind, `retryable` says whether the same
    call may succeed later, `retry_after` the seconds the provider asked us to wait, when it did.
    """

    code: str = "backend_failed"
    title: ClassVar[str] = "The storage call failed"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        if code is not None:
            self.code = code


class TransientError(BackendError):
    """Trying the same call again may help."""

    code = "transient"
    title = "The provider failed in a way that may pass"
    retryable = True


class Throttled(TransientError):
    code = "throttled"
    title = "The provider asked us to slow down"


class Unavailable(TransientError):
    code = "unavailable"
    title = "The provider is unavailable"


class TimedOut(TransientError):
    """No answer in time; the call may still have had, or still get, its effect."""

    code = "timed_out"
    title = "The provider did not answer in time"


class ConnectionFailed(TransientError):
    code = "connection_failed"
    title = "The connection to the provider failed"


class CredentialsExpired(TransientError):
    """Worth one more try with refreshed credentials, not the whole retry budget."""

    code = "credentials_expired"
    title = "The credentials have expired"


class PermanentError(BackendError):
    """Trying again cannot help before somebody changes something."""

    code = "permanent"
    title = "The provider refused"


class AccessDenied(PermanentError):
    code = "access_denied"
    title = "Access to the destination was denied"


class DestinationMissing(PermanentError):
    code = "destination_missing"
    title = "The destination does not exist"


class ObjectExists(PermanentError):
    code = "object_exists"
    title = "An object with this key exists already"


class InvalidRequest(PermanentError):
    code = "invalid_request"
    title = "The destination does not accept this request"


class IntegrityError(PermanentError):
    """What arrived differs from what was sent. The call cannot be trusted, but sending the same bytes anew may work."""

    code = "integrity_failed"
    title = "The stored bytes differ from the sent bytes"


class ShortBody(IntegrityError):
    """The source has fewer bytes than the body promised, or cannot be read: the fault is on our side of the wire."""

    code = "source_corrupt"
    title = "The source no longer holds the promised bytes"


class StoreFull(PermanentError):
    code = "store_full"
    title = "The destination has no room left"


class SessionLost(PermanentError):
    """The multipart session does not exist any more; a new one can be begun."""

    code = "session_lost"
    title = "The provider no longer knows the upload session"


BY_CODE: dict[str, type[BackendError]] = {
    kind.code: kind
    for kind in list(vars().values())
    if isinstance(kind, type) and issubclass(kind, TransientError | PermanentError)
}
"""The errors of this contract by their code; a backend may add classes of its own, which are not among them."""
