"""The kinds of places that `bucketline init` can write down: what it has to know of each, and the lines it makes of it.

Nothing but the standard library is imported here: the command line's options are made of this.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

Answers = Mapping[str, str]

ENVIRONMENT, LIBRARY = "env", "library"
CREDENTIALS = (ENVIRONMENT, LIBRARY)


class Field(NamedTuple):
    """One thing to know. `--{option}` gives the answer without a question."""

    option: str
    metavar: str
    question: str
    help: str


FIELDS = (
    Field("name", "NAME", "What shall jobs call it?", "what jobs call it (default: media, archive, or the backend)"),
    Field("root", "DIR", "Which directory? (relative to the file)", "local: the directory"),
    Field("bucket", "NAME", "Which bucket (or container)?", "s3, gcs: the bucket; azure: the container"),
    Field("account", "NAME", "Which storage account?", "azure: the storage account"),
    Field("endpoint", "URL", "Which address? (empty: {usual})", "s3, gcs, azure: the address, if not the usual"),
    Field("region", "NAME", "Which region? (empty: by itself)", "s3: the region, where the store wants one"),
    Field("url", "URL", "Which address, as {example}?", "sftp, smb, ftp, webdav, fsspec: protocol://host/path"),
    Field("user", "NAME", "Which user?", "sftp, smb, ftp, webdav: the user"),
    Field(
        "credentials", "HOW", "Where are its secrets, in the environment (env) or with its library?",
        "env: from variables of the environment (default); library: as the store's library finds them",
    ),
    Field("prefix", "FOLDER", "A folder for everything? (empty: none)", "what stands before every key, as uploads/"),
)  # fmt: skip


class Kind(NamedTuple):
    """`asks` are the options to know, each with its default; None: there is none, so it has to be given."""

    title: str
    name: str
    asks: Mapping[str, str | None]
    backend: str = ""
    example: str = ""
    usual: str = ""


_SERVER = {"url": None, "user": "", "credentials": ENVIRONMENT, "prefix": ""}
_BUCKET = {"bucket": None, "endpoint": "", "credentials": ENVIRONMENT, "prefix": ""}
KINDS: Mapping[str, Kind] = {
    "local": Kind("a directory of this machine", "media", {"root": "var/objects", "prefix": ""}),
    "s3": Kind(
        "Amazon S3 and what speaks like it: MinIO, R2, B2, Wasabi, Ceph",
        "archive",
        {"bucket": None, "endpoint": "", "region": "", "credentials": ENVIRONMENT, "prefix": ""},
        usual="Amazon's",
    ),
    "gcs": Kind("Google Cloud Storage", "archive", _BUCKET, usual="Google's"),
    "azure": Kind("Azure Blob Storage", "archive", {"account": None, **_BUCKET}, usual="Microsoft's"),
    "sftp": Kind("a server by SFTP", "server", _SERVER, "fsspec", "sftp://files.example/incoming"),
    "smb": Kind("a share of Windows or Samba", "share", _SERVER, "fsspec", "smb://nas.example/share/incoming"),
    "webdav": Kind("a server by WebDAV", "cloud", _SERVER, "fsspec", "webdavs://dav.example/files"),
    "ftp": Kind("a server by FTP", "server", _SERVER, "fsspec", "ftp://ftp.example/incoming"),
    "fsspec": Kind(
        "anything else that fsspec reaches", "store", {"url": None, "prefix": ""}, example="abc://host/path"
    ),
    "memory": Kind("this process's memory, for trials: nothing is kept", "trial", {}),
}


class Place(NamedTuple):
    """One destination as it will be written. `variables` are those that its secrets come from."""

    name: str
    text: str
    variables: tuple[str, ...] = ()


class _Line(NamedTuple):
    key: str
    value: str
    comment: str = ""
    active: bool = True

    def __str__(self) -> str:
        text = f"{'' if self.active else '# '}{self.key.ljust(12)} = {self.value}"
        return f"{text.ljust(48)} # {self.comment}" if self.comment else text


def place(kind: str, answers: Answers, taken: str = "") -> Place:
    """The table of a destination. `taken` is the name of the other one, whose variables hold other secrets."""
    name = answers["name"]
    words = re.sub(r"\W", "_", name.upper()) if taken else ""
    lines, variables = _written(kind, answers, words)
    heading = (
        f"[destinations.{name if re.fullmatch('[A-Za-z0-9_-]+', name) else literal(name)}]".ljust(48)
        + f" # {KINDS[kind].title}"
    )
    return Place(name, "\n".join([heading, *map(str, lines)]) + "\n", tuple(variables))


def _written(kind: str, answers: Answers, words: str) -> tuple[list[_Line], list[str]]:
    """The lines, and the variables in them that are ours to name. `words` stand before a second place's variables."""
    lines = [_Line("backend", literal(KINDS[kind].backend or kind))]
    secrets = _SECRETS.get(kind, {})
    variables = {key: f"{words}_{_RENAMED.get(variable, variable)}" if words else variable
                 for key, variable in secrets.items()}  # fmt: skip
    from_environment = answers.get("credentials", LIBRARY) == ENVIRONMENT
    lines += _address(kind, answers)
    if KINDS[kind].backend and variables:
        lines += _server_options(answers, variables["password"], from_environment)
    else:
        for key, variable in variables.items():
            lines.append(_Line(key, literal(f"${{{variable}}}"), _WAYS[kind], from_environment))
    if "prefix" in KINDS[kind].asks:
        given = answers.get("prefix", "")
        lines.append(_Line("prefix", literal(given or "uploads/"), "stands before every key", bool(given)))
    lines.append(_Line("key_template", literal("{yyyy}/{mm}/{id}/{name}"), "how keys are made", active=False))
    return lines, list(variables.values()) if from_environment else []


def _address(kind: str, answers: Answers) -> Iterator[_Line]:
    if kind == "local":
        yield _Line("root", literal(answers["root"]), "relative to this file")
    if kind == "azure":
        yield _Line("container", literal(answers["bucket"]))
        yield _Line("account_name", literal(answers["account"]))
    elif "bucket" in answers:
        yield _Line("bucket", literal(answers["bucket"]))
    if "endpoint" in KINDS[kind].asks:
        given = answers.get("endpoint", "")
        shown = literal(given or "https://store.example")
        yield _Line("endpoint_url", shown, f"left out: {KINDS[kind].usual}", bool(given))
    if kind == "s3":
        given = answers.get("region", "")
        yield _Line("region", literal(given or "eu-central-1"), "where the store wants one", bool(given))
    if "url" in answers:
        yield _Line("url", literal(answers["url"]), "everything is kept below its path")
    if kind == "fsspec":
        yield _Line("options", '{ key = "${NAME}" }', "what that file system takes", active=False)


def _server_options(answers: Answers, variable: str, from_environment: bool) -> Iterator[_Line]:
    user = [f"username = {literal(answers['user'])}"] if answers.get("user") else []
    words = [*user, f'password = "${{{variable}}}"'] if from_environment else user
    if words:
        yield _Line("options", f"{{ {', '.join(words)} }}", "what the file system takes: key files, …")
    else:
        yield _Line("options", f'{{ password = "${{{variable}}}" }}', "what the file system takes", active=False)


_SECRETS: Mapping[str, Mapping[str, str]] = {
    "s3": {"key": "AWS_ACCESS_KEY_ID", "secret": "AWS_SECRET_ACCESS_KEY"},
    "gcs": {"credentials_file": "GOOGLE_APPLICATION_CREDENTIALS"},
    "azure": {"account_key": "AZURE_STORAGE_KEY"},
    **{kind: {"password": f"{kind.upper()}_PASSWORD"} for kind in ("sftp", "smb", "webdav", "ftp")},
}
_RENAMED = {name: name.partition("_")[2] for secrets in _SECRETS.values() for name in secrets.values()}
"""What a second place's variable ends with: ARCHIVE_ACCESS_KEY_ID beside AWS_ACCESS_KEY_ID."""
_WAYS = {
    "s3": "left out: role, profile, …",
    "gcs": "left out: gcloud's own, or the machine's",
    "azure": "left out: Microsoft Entra ID",
}


def literal(text: str) -> str:
    """A text as TOML has it."""
    return json.dumps(text, ensure_ascii=False)


def default_name(kind: str, taken: str = "") -> str:
    name = KINDS[kind].name
    return f"{name}-2" if name == taken else name


def document(places: list[Place]) -> str:
    """The whole file: one destination, or two and a route to both."""
    several = len(places) > 1
    default = "everywhere" if several else places[0].name
    head = [
        "# Where files go. Written by `bucketline init`; it is yours to change, and is read again when it changes.",
        "# `bucketline check` proves every destination by a real write, read and delete; `bucketline config` shows",
        "# what is in force. ${NAME} comes from the environment. Take away the # of a line to use it.",
        "",
        f"default = {literal(default)}".ljust(48) + " # used when a job names no destination",
        "",
    ]
    text = "\n".join(head) + "\n" + "\n".join(one.text for one in places)
    if several:
        mirror = ", ".join(literal(one.name) for one in places)
        text += f"\n[routes.everywhere]{' ' * 29} # a name for several: each gets the file\nmirror = [{mirror}]\n"
    return text
