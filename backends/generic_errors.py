"""What the errors of file systems mean for us: the one table for everything behind fsspec.

Libraries are told by the names of their classes, so that none has to be imported to understand another's errors.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterator, Mapping

from backends import errors
from backends.errors import BackendError
from backends.local_paths import ERRNO_ERRORS

_BY_NAME: Mapping[str, type[BackendError]] = {
    # paramiko
    "AuthenticationException": errors.AccessDenied,
    "BadHostKeyException": errors.AccessDenied,
    "NoValidConnectionsError": errors.ConnectionFailed,
    "HostKeyUnknown": errors.AccessDenied,
    "SSHException": errors.ConnectionFailed,
    # asyncssh
    "PermissionDenied": errors.AccessDenied,
    "HostKeyNotVerifiable": errors.AccessDenied,
    "SFTPNoSpaceOnFilesystem": errors.StoreFull,
    "SFTPQuotaExceeded": errors.StoreFull,
    "DisconnectError": errors.ConnectionFailed,
    "SFTPConnectionLost": errors.ConnectionFailed,
    "SFTPNoConnection": errors.ConnectionFailed,
    # smbprotocol
    "SMBAuthenticationError": errors.AccessDenied,
    "LogonFailure": errors.AccessDenied,
    "AccessDenied": errors.AccessDenied,
    "BadNetworkName": errors.DestinationMissing,
    "DiskFull": errors.StoreFull,
    "SMBConnectionClosed": errors.ConnectionFailed,
    "SMBException": errors.ConnectionFailed,
    # httpx, webdav4
    "InvalidURL": errors.InvalidRequest,
    "TimeoutException": errors.TimedOut,
    "TransportError": errors.ConnectionFailed,
    "ForbiddenOperation": errors.AccessDenied,
    "InsufficientStorage": errors.StoreFull,
    "ResourceAlreadyExists": errors.ObjectExists,
    "ResourceConflict": errors.DestinationMissing,
    "BadGatewayError": errors.Unavailable,
    "MultiStatusError": errors.Unavailable,
    # ftplib
    "error_temp": errors.Unavailable,
    "error_reply": errors.ConnectionFailed,
    "error_proto": errors.ConnectionFailed,
}
_BY_STATUS: Mapping[int, type[BackendError]] = {
    401: errors.AccessDenied, 403: errors.AccessDenied, 404: errors.DestinationMissing, 405: errors.InvalidRequest,
    408: errors.TimedOut, 409: errors.DestinationMissing, 412: errors.ObjectExists, 413: errors.StoreFull,
    423: errors.Throttled, 429: errors.Throttled, 507: errors.StoreFull,
    # replies of FTP
    421: errors.Unavailable, 426: errors.ConnectionFailed, 430: errors.AccessDenied, 450: errors.Unavailable,
    451: errors.Unavailable, 452: errors.StoreFull, 530: errors.AccessDenied, 532: errors.AccessDenied,
    550: errors.AccessDenied, 552: errors.StoreFull, 553: errors.InvalidRequest,
}  # fmt: skip
# NT statuses of SMB that the library gives no error number, or a misleading one.
_BY_NT_STATUS: Mapping[int, type[BackendError]] = {
    0xC0000043: errors.Unavailable,  # somebody else holds the file: a virus scanner, for a moment
    0xC0000022: errors.AccessDenied, 0xC000007F: errors.StoreFull, 0xC0000044: errors.StoreFull,
    0xC000009A: errors.Unavailable, 0xC00000CC: errors.DestinationMissing, 0xC00000BA: errors.InvalidRequest,
    0xC0000033: errors.InvalidRequest,
}  # fmt: skip
_GONE = {errno.EBADF, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENOTCONN}
"""Numbers that speak of a connection here, and that Python has no class for; EBADF when another thread closed it."""
_SILENCE = re.compile(r"(?i)timeout|timed out|no existing session")
"""What paramiko, asyncssh and smbprotocol say of a server that does not answer; they have no class for it."""
_DROPS = (errors.ConnectionFailed, errors.TimedOut, errors.AccessDenied)


def missing(error: BaseException) -> bool:
    """Whether an error says that a file or folder is not there."""
    return any(
        (isinstance(cause, OSError) and cause.errno == errno.ENOENT)
        or isinstance(cause, FileNotFoundError)
        or type(cause).__name__ in ("ResourceNotFound", "SFTPNoSuchFile", "ObjectNameNotFound", "ObjectPathNotFound")
        or (type(cause).__name__ == "error_perm" and re.match(r"550\b.*(?i:no such|not found|not exist)", str(cause)))
        for cause in _chain(error)
    )


def spoils_connection(error: BackendError) -> bool:
    """Whether the connection that an error came from should not be used again."""
    return isinstance(error, _DROPS) or type(error) is errors.TransientError


def from_exception(error: BaseException, doing: str) -> BackendError:
    """The error that an exception stands for. What nobody knows is worth another try."""
    if isinstance(error, BackendError):
        return error
    chain = list(_chain(error))
    for cause in chain:
        kind = _kind_of(cause)
        if kind is not None:
            return kind(f"Cannot {doing}: {_said(cause)}.")
    return errors.TransientError(f"Cannot {doing}: {_said(error)}.")


def _kind_of(cause: BaseException) -> type[BackendError] | None:
    if missing(cause):
        return errors.DestinationMissing
    if type(cause).__name__ == "error_perm" and (code := re.match(r"\d{3}", str(cause))):
        return _BY_STATUS.get(int(code[0]), errors.InvalidRequest)
    status = getattr(cause, "status_code", None)
    if isinstance(status, int):
        return _BY_STATUS.get(status, errors.Unavailable if status >= 500 else errors.InvalidRequest)
    nt_status = getattr(cause, "ntstatus", getattr(cause, "status", None))
    if isinstance(nt_status, int) and nt_status & 0xFFFFFFFF in _BY_NT_STATUS:
        return _BY_NT_STATUS[nt_status & 0xFFFFFFFF]
    if type(cause) is OSError and cause.args == ("Socket is closed",):
        return errors.ConnectionFailed  # paramiko's only word for it, without a number
    if isinstance(cause, OSError) and cause.errno in _GONE:
        return errors.ConnectionFailed
    if isinstance(cause, OSError) and cause.errno in ERRNO_ERRORS:
        return ERRNO_ERRORS[cause.errno]
    for base in type(cause).__mro__:
        if base.__module__ != "builtins" and (kind := _BY_NAME.get(base.__name__)):
            return errors.TimedOut if _is_silence(kind, cause) else kind
    if isinstance(cause, (TimeoutError, socket.timeout)):
        return errors.TimedOut
    if isinstance(cause, (ConnectionError, EOFError, socket.gaierror)):
        return errors.ConnectionFailed
    return None


def _is_silence(kind: type[BackendError], error: BaseException) -> bool:
    """paramiko says even of a server that fell silent during the login that it refused."""
    if kind is not errors.ConnectionFailed:
        return str(error) == "Authentication timeout."
    return bool(_SILENCE.search(str(error))) or any(isinstance(cause, TimeoutError) for cause in _chain(error))


def _said(error: BaseException) -> str:
    """The error's own words as one short printable line; a password that a library quotes is not among them."""
    text = re.sub(r"(?i)(passw\w*|token|secret)(['\"]?\s*[:=]\s*)\S+", r"\1\2***", str(error))
    text = "".join(letter if letter.isprintable() else " " for letter in text)[:200].strip(" .")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
