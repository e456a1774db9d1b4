"""The settings of one process: what `BUCKETLINE_*` and the command line say, read once and checked.

| variable | meaning | default |
|---|---|---|
| `BUCKETLINE_CONFIG` | the file that says where things go | `./plugins.toml`, or a local directory |
| `BUCKETLINE_REDIS_URL` | the ledger | the embedded one of `bucketline up` |
| `BUCKETLINE_BROKER_URL` | the queue | the same server's next database |
| `BUCKETLINE_DATA` | directory for everything that is written | `var` |
| `BUCKETLINE_SPOOL` | where accepted files wait | `spool` below the data directory |
| `BUCKETLINE_SPOOL_LIMIT` | quota of the spool, as `50GiB` | 90 % of the disk |
| `BUCKETLINE_NODE` | name of this machine's spool | host name |
| `BUCKETLINE_API_KEY` | the bootstrap key, with all rights | none: only loopback is served |
| `BUCKETLINE_CORS_ORIGINS` | sites whose pages may call: `https://a.example`, by commas; with a key also `*` | none |
| `BUCKETLINE_AUDIT_DAYS` | how long the audit log is kept; 0: none is written | 90 |
| `BUCKETLINE_ACCESS_LOG` | `json`: a line on stderr for each request, or `off` | `json`; `off` in `bucketline up` |
| `BUCKETLINE_LOG` | `text`: log lines as `key=value`; `json` (`--json`): one object per line | `text` |
| `BUCKETLINE_TRACING` | `otlp`: spans go to where `OTEL_EXPORTER_OTLP_ENDPOINT` says; takes the extra `otel` | `off` |
| `BUCKETLINE_LEASE_SECONDS` | how long a part belongs to a silent worker | 30 |
| `BUCKETLINE_RETAIN_SECONDS` | how long a finished job is remembered | 604800 |
| `BUCKETLINE_KEEP_FAILED_SECONDS` | how long the bytes of a failed job stay | 86400 |
| `BUCKETLINE_MAX_SIZE` | largest file, as `5GiB` | none |
| `BUCKETLINE_DURABILITY` | `fsync`, or `cache`: trust the page cache | `fsync` |
| `BUCKETLINE_TUS_EXPIRE_SECONDS` | how long an unfinished upload (tus) waits for its next bytes | 86400 |
| `BUCKETLINE_IDEMPOTENCY_LEASE_SECONDS` | how long an `Idempotency-Key` belongs to an API process that is silent | 60 |
| `BUCKETLINE_PIPELINING` | `on`: the parts of a file are sent while the rest of it is still coming; `off` | `on` |
| `BUCKETLINE_SOURCE_ROOTS` | directories a `source.path` may name, separated by `:` | none |
| `BUCKETLINE_IMPORT_ALLOW` | what imports may reach beside the internet: `files.internal,10.1.0.0/16` | nothing |
| `BUCKETLINE_IMPORT_PORTS` | ports that imports may connect to | `80,443` |
| `BUCKETLINE_WEBHOOK_ALLOW` | what webhooks may reach beside the internet: `hooks.internal,10.1.0.0/16` | nothing |
| `BUCKETLINE_WEBHOOK_PORTS` | ports that webhooks may connect to | `80,443` |
| `BUCKETLINE_WEBHOOK_TIMEOUT` | seconds that a receiver has for its answer | 15 |
| `BUCKETLINE_WEBHOOK_WAITS` | seconds before each further try of a webhook | `5,30,300,1800,7200,18000,28800,28800` |
| `BUCKETLINE_RETRY_ATTEMPTS` | attempts per part | 8 |
| `BUCKETLINE_RETRY_BASE_SECONDS` | first wait between attempts | 2 |
| `BUCKETLINE_RETRY_BUDGET_SECONDS` | a part is tried for this long at least, whatever its attempts | 600 |
| `BUCKETLINE_PROCESSES`, `BUCKETLINE_THREADS` | worker processes, parts at once in each | 1, 8 |
| `BUCKETLINE_API_PROCESSES` | processes of the API | 2, or 1 on a single core |
| `BUCKETLINE_URL`, `BUCKETLINE_TOKEN` | for the client commands | `http://127.0.0.1:8000`, the API key |
"""

import difflib
import os
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from engine import setting_values as values

PREFIX = "BUCKETLINE_"
_SECRET_FIELDS = frozenset({"api_key", "token"})
_URL_FIELDS = frozenset({"redis_url", "broker_url", "url"})


class SettingsError(ValueError):
    """One or more settings cannot be used; `faults` has a line for each that names the variable and what it takes."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What one process needs to know about how it runs. Paths are absolute, sizes are bytes, durations are seconds.

    `redis_url` is empty when nothing names a Redis; `config_path` is None when there is no plugins.toml;
    `spool_limit` None means 90 % of the disk, `max_size` None no limit of ours. `warnings` are for the operator.
    """

    data: Path
    spool: Path
    node: str
    config_path: Path | None = None
    redis_url: str = ""
    broker_url: str = ""
    spool_limit: int | None = None
    api_key: str | None = None
    cors_origins: tuple[str, ...] = ()
    audit_days: int = 90
    access_log: str = "json"
    log: str = "text"
    tracing: str = "off"
    lease_seconds: int = 30
    retain_seconds: int = 604_800
    keep_failed_seconds: int = 86_400
    max_size: int | None = None
    durability: str = "fsync"
    tus_expire_seconds: int = 86_400
    idempotency_lease_seconds: int = 60
    pipelining: str = "on"
    """Whether a file is sent while it is still being received."""
    allowed_roots: list[Path] = msgspec.field(default_factory=list)
    import_allow: tuple[str, ...] = ()
    import_ports: tuple[int, ...] = (80, 443)
    webhook_allow: tuple[str, ...] = ()
    webhook_ports: tuple[int, ...] = (80, 443)
    webhook_timeout_seconds: float = 15.0
    webhook_waits: tuple[float, ...] = (5, 30, 300, 1800, 7200, 18_000, 28_800, 28_800)
    """Seconds before each further try."""
    retry_attempts: int = 8
    retry_base_seconds: float = 2.0
    retry_budget_seconds: float = 600.0
    processes: int = 1
    threads: int = 8
    api_processes: int = msgspec.field(default_factory=lambda: min(2, len(os.sched_getaffinity(0))))
    url: str = "http://127.0.0.1:8000"
    token: str | None = None
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> "Settings":
        """Read the environment (`os.environ` unless given); an override that is not None wins over its variable.

        Raises SettingsError with every fault at once. An empty variable counts as unset.
        """
        given = os.environ if environ is None else environ
        read, faults = _read(given, {name: value for name, value in overrides.items() if value is not None})
        if faults:
            raise SettingsError(faults)
        return cls(**_with_defaults(read), warnings=tuple(_unknown_names(given)))

    def environ(self) -> dict[str, str]:
        """The variables that make a child process read these very settings. Holds the secrets."""
        found: dict[str, str] = {}
        for variable, (name, _) in _VARIABLES.items():
            value = getattr(self, name)
            if isinstance(value, tuple):
                value = ",".join(map(str, value))
            if isinstance(value, list):
                value = os.pathsep.join(str(item) for item in value)
            if value not in (None, ""):
                found[variable] = str(value)
        return found

    def shown(self) -> dict[str, Any]:
        """Every setting by the name it has here, without secrets and passwords."""
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        for name in _SECRET_FIELDS:
            shown[name] = shown[name] and "***"
        for name in _URL_FIELDS:
            shown[name] = without_password(shown[name])
        return shown

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.shown().items())})"


def next_database(url: str) -> str:
    """The same Redis server's next database: where the queue lives unless told otherwise."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    in_path = parts.scheme != "unix" and "db" not in query
    current = parts.path.strip("/") if in_path else query.get("db", "")
    number = int(current) + 1 if current.isdecimal() else 1
    if in_path:
        return urlunsplit(parts._replace(path=f"/{number}"))
    # Put together by hand: urlunsplit makes unix:/path from unix:///path on some versions of Python.
    return f"{url.partition('?')[0]}?{urlencode({**query, 'db': str(number)})}"


def without_password(url: str) -> str:
    """A URL as it may be shown. A password may hold an `@` itself: the last one before the path ends it."""
    return re.sub(r"([?&]password=)[^&]*", r"\1***", re.sub(r"(://[^:@/?#]*:)[^/?#]*@", r"\1***@", url))


# variable -> (field, how its text is read)
_VARIABLES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "BUCKETLINE_CONFIG": ("config_path", values.path),
    "BUCKETLINE_REDIS_URL": ("redis_url", values.redis_url),
    "BUCKETLINE_BROKER_URL": ("broker_url", values.redis_url),
    "BUCKETLINE_DATA": ("data", values.path),
    "BUCKETLINE_SPOOL": ("spool", values.path),
    "BUCKETLINE_SPOOL_LIMIT": ("spool_limit", values.size),
    "BUCKETLINE_NODE": ("node", values.node),
    "BUCKETLINE_API_KEY": ("api_key", values.secret),
    "BUCKETLINE_CORS_ORIGINS": ("cors_origins", values.origins),
    "BUCKETLINE_AUDIT_DAYS": ("audit_days", values.whole(0, 36_500)),
    "BUCKETLINE_ACCESS_LOG": ("access_log", values.one_of("json", "off")),
    "BUCKETLINE_LOG": ("log", values.one_of("text", "json")),
    "BUCKETLINE_TRACING": ("tracing", values.one_of("off", "otlp")),
    "BUCKETLINE_LEASE_SECONDS": ("lease_seconds", values.whole(1, 3600)),
    "BUCKETLINE_RETAIN_SECONDS": ("retain_seconds", values.whole(1, 10 * 366 * 86_400)),
    "BUCKETLINE_KEEP_FAILED_SECONDS": ("keep_failed_seconds", values.whole(0, 10 * 366 * 86_400)),
    "BUCKETLINE_MAX_SIZE": ("max_size", values.size),
    "BUCKETLINE_DURABILITY": ("durability", values.one_of("fsync", "cache")),
    "BUCKETLINE_TUS_EXPIRE_SECONDS": ("tus_expire_seconds", values.whole(1, 366 * 86_400)),
    "BUCKETLINE_IDEMPOTENCY_LEASE_SECONDS": ("idempotency_lease_seconds", values.whole(1, 3600)),
    "BUCKETLINE_PIPELINING": ("pipelining", values.one_of("on", "off")),
    "BUCKETLINE_SOURCE_ROOTS": ("allowed_roots", values.paths),
    "BUCKETLINE_IMPORT_ALLOW": ("import_allow", values.hosts),
    "BUCKETLINE_IMPORT_PORTS": ("import_ports", values.ports),
    "BUCKETLINE_WEBHOOK_ALLOW": ("webhook_allow", values.hosts),
    "BUCKETLINE_WEBHOOK_PORTS": ("webhook_ports", values.ports),
    "BUCKETLINE_WEBHOOK_TIMEOUT": ("webhook_timeout_seconds", values.seconds),
    "BUCKETLINE_WEBHOOK_WAITS": ("webhook_waits", values.waits),
    "BUCKETLINE_RETRY_ATTEMPTS": ("retry_attempts", values.whole(1, 1000)),
    "BUCKETLINE_RETRY_BASE_SECONDS": ("retry_base_seconds", values.seconds),
    "BUCKETLINE_RETRY_BUDGET_SECONDS": ("retry_budget_seconds", values.seconds),
    "BUCKETLINE_PROCESSES": ("processes", values.whole(1, 256)),
    "BUCKETLINE_THREADS": ("threads", values.whole(1, 256)),
    "BUCKETLINE_API_PROCESSES": ("api_processes", values.whole(1, 256)),
    "BUCKETLINE_URL": ("url", values.http_url),
    "BUCKETLINE_TOKEN": ("token", values.secret),
}
NAMES: Mapping[str, str] = {variable: name for variable, (name, _) in _VARIABLES.items()}
"""Each variable, and the name that its setting has in `Settings`."""


def _read(environ: Mapping[str, str], overrides: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    read: dict[str, Any] = {}
    faults: list[str] = []
    for variable, (name, parse) in _VARIABLES.items():
        given = overrides.pop(name, None)
        source = f"--{name.removesuffix('_path').replace('_', '-')}" if given is not None else variable
        text = environ.get(variable, "") if given is None else given
        if text == "":
            continue
        try:
            read[name] = parse(str(text)) if isinstance(text, str | int | float | Path) else text
        except ValueError as problem:
            # The value of a secret, or of a URL that may hold one, is not repeated.
            hidden = name in _SECRET_FIELDS | _URL_FIELDS
            faults.append(f"{source} {problem}" + ("" if hidden else f" (it is {str(text)!r})"))
    if overrides:
        raise TypeError(f"no such setting: {', '.join(sorted(overrides))}")
    return read, faults


def _with_defaults(read: dict[str, Any]) -> dict[str, Any]:
    filled = dict(read)
    data = filled.setdefault("data", Path("var").absolute())
    filled.setdefault("spool", data / "spool")
    filled.setdefault("node", host_name())
    if "config_path" not in filled and (here := Path("plugins.toml").absolute()).exists():
        filled["config_path"] = here
    if "broker_url" not in filled and filled.get("redis_url"):
        filled["broker_url"] = next_database(filled["redis_url"])
    if "token" not in filled:
        filled["token"] = filled.get("api_key")
    return filled


def host_name() -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).strip("-._")[:64] or "node"


def _unknown_names(environ: Mapping[str, str]) -> list[str]:
    warnings = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in _VARIABLES:
            near = difflib.get_close_matches(name, list(_VARIABLES), 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            warnings.append(f"{name} is not a setting of this version and has no effect{hint}")
    return warnings
