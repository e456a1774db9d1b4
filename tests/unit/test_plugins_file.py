"""plugins.toml: what it says when it is right, and how each mistake is reported."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.config import Configuration, ConfigurationError, UnknownDestination, load
from backends.destinations import Surroundings, read_destination
from backends.expansion import expand
from backends.faults import FaultList
from backends.memory_faults import Fail, MemoryOptions
from backends.user_actors import UserActor

Write = Callable[[str | bytes], Path]

GOOD = """
default = "media"

[destinations.media]
backend = "local"
root    = "var/objects"

[destinations.trial]
backend      = "memory"
space        = "${SPACE}"
prefix       = "uploads/"
key_template = "{yyyy}/{id}/{name}"
fail         = { part = 3, times = 2, error = "throttled", retry_after = 1.5 }
limits       = { part_size = "16MiB", concurrency = 4 }
capabilities = { uniform_parts = true, max_part = "100MiB", max_parts = 500, checksums = [] }

[destinations.third]
backend = "memory"

[routes.everywhere]
mirror    = ["media", "trial"]
done_when = "all"
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "plugins.toml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def faults(path: Path, environ: Mapping[str, str] | None = None, **options: Any) -> list[str]:
    """The lines that are printed, without the name of the file."""
    with pytest.raises(ConfigurationError) as raised:
        load(path, environ or {}, **options)
    lines = str(raised.value).splitlines()
    assert len(lines) == len(raised.value.faults)
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def test_a_good_file_is_understood(write: Write, tmp_path: Path) -> None:
    configuration = load(write(GOOD), {"SPACE": "a"})
    assert configuration.default == "media"
    assert list(configuration.destinations) == ["media", "trial", "third"]
    assert configuration.routes == {"everywhere": ["media", "trial"]}
    trial = configuration.destinations["trial"]
    assert (trial.name, trial.backend, trial.prefix) == ("trial", "memory", "uploads/")
    assert (trial.key_template, trial.part_size, trial.concurrency) == ("{yyyy}/{id}/{name}", 16 * 2**20, 4)
    assert trial.options == MemoryOptions(space="a", fail=Fail(part=3, times=2, error="throttled", retry_after=1.5))
    assert (trial.capabilities.uniform_parts, trial.capabilities.max_part) == (True, 100 * 2**20)
    assert (trial.capabilities.max_parts, trial.capabilities.checksums) == (500, ())
    assert configuration.destinations["media"].url_for("k") == f"file://{tmp_path}/var/objects/k"


def test_routes_are_flattened_and_nothing_is_named_twice(write: Write) -> None:
    configuration = load(write(GOOD), {"SPACE": "a"})
    assert configuration.expand(["third", "everywhere", "trial"]) == ["third", "media", "trial"]
    assert configuration.expand([]) == []


def test_an_unknown_destination_is_told_the_nearest(write: Write) -> None:
    configuration = load(write(GOOD), {"SPACE": "a"})
    with pytest.raises(UnknownDestination, match="Did you mean 'everywhere'") as raised:
        configuration.expand(["media", "everywere"])
    assert (raised.value.name, raised.value.nearest) == ("everywere", "everywhere")
    with pytest.raises(UnknownDestination) as raised:
        configuration.expand(["qqqqqq"])
    assert raised.value.nearest is None


def test_without_a_file_there_is_one_local_destination(tmp_path: Path) -> None:
    configuration = Configuration.local(tmp_path)
    assert configuration.default == "local"
    assert configuration.destinations["local"].url_for("a") == f"file://{tmp_path}/a"


def test_the_default_may_be_left_out_when_there_is_no_choice(write: Write) -> None:
    assert load(write('[destinations.only]\nbackend = "memory"'), {}).default == "only"


def destination(lines: str) -> str:
    return f'[destinations.x]\nbackend = "memory"\n{lines}'


BACKENDS = "[destinations.x] backend: names the kind of storage (one of: azure, fsspec, gcs, local, memory, s3)"
LOCAL = '[destinations.x]\nbackend = "local"\n'

MISTAKES = {
    # the file
    "x = ": "is no valid TOML: Invalid value (at end of document)",
    '[destinations.x]\nbackend="memory"\n[destinations.x]\nbackend="memory"': (
        "is no valid TOML: Cannot declare ('destinations', 'x') twice (at line 3, column 16)"
    ),
    "a = " + "[" * 100_000: "is nested too deeply",
    "": "there is no destination (add a table such as [destinations.media])",
    "[destination.x]": "destination: unknown key 'destination' (did you mean 'destinations'?)",
    "destinations = 7": "destinations: takes tables such as [destinations.media]",
    "[destinations]\nx = 7": "destinations.x: is no table; write [destinations.x]",
    '[destinations."a/b"]\nbackend = "memory"': ("[destinations.'a/b']: a name has 1 to 64 letters, digits, - and _"),
    # properties
    destination("properties = { cache_controll = 'x' }"): (
        "[destinations.x] properties.cache_controll: unknown property 'cache_controll' (did you mean 'cache_control'?)"
    ),
    destination("properties = { cache_control = 7 }"): (
        "[destinations.x] properties.cache_control: takes text, not a whole number"
    ),
    destination("properties = 7"): "[destinations.x] properties: takes a table, { name = value }",
    '[destinations.x]\nbackend = "s3"\nbucket = "bbb"\nproperties = { storage_class = "cold" }': (
        "[destinations.x] properties.storage_class: Destination 'x': "
        "S3 takes a word such as STANDARD_IA or GLACIER_IR here."
    ),
    '[destinations.x]\nbackend = "s3"\nbucket = "bbb"\nprefix = "' + "x" * 1025 + '"': (
        "[destinations.x] prefix: Destination 'x': The key has 1026 bytes; S3 takes 1024."
    ),
    # faults
    destination("faults = { error_rat = 1 }"): (
        "[destinations.x] faults error_rat: unknown key 'error_rat' (did you mean 'error_rate'?)"
    ),
    destination("faults = { error_rate = 7 }"): "[destinations.x] faults: error_rate is a share between 0 and 1",
    destination("faults = { throttle = '5 MB/s' }"): (
        "[destinations.x] faults.throttle: has no unit 'MB'; write \"5MiB\" if you mean powers of 1,024"
    ),
    # the default
    'default = "y"\n' + destination(""): "default: unknown destination or route 'y' (known: x)",
    "default = 7\n" + destination(""): "default: takes the name of a destination or route",
    destination("") + '[destinations.y]\nbackend = "memory"': "default: is missing (name one of: x, y)",
    # the backend
    "[destinations.x]": BACKENDS,
    "[destinations.x]\nbackend = 7": BACKENDS,
    '[destinations.x]\nbackend = "memroy"': (
        "[destinations.x] backend: there is no backend 'memroy' (did you mean 'memory'?)"
    ),
    # its options
    destination('spcae = "a"'): "[destinations.x] spcae: unknown key 'spcae' (did you mean 'space'?)",
    destination("limit = {}"): "[destinations.x] limit: unknown key 'limit' (did you mean 'limits'?)",
    destination("space = 7"): "[destinations.x] space: takes text, not a whole number",
    destination("seed = true"): "[destinations.x] seed: takes a whole number, not true or false",
    destination("slow_seconds = '1'"): "[destinations.x] slow_seconds: takes a number, not text",
    destination("fail = { part = 'x' }"): "[destinations.x] fail: part takes a whole number, not text",
    destination("fail = { call = 'stat' }"): "[destinations.x] fail: call is not one of the words it takes",
    destination("fail = { tmies = 1 }"): "[destinations.x] fail: object contains unknown field `tmies`",
    LOCAL: "[destinations.x]: the key 'root' is missing",
    LOCAL + "root = 7": "[destinations.x] root: expected a path",
    LOCAL + 'root = ""': "[destinations.x] root: the path is empty or holds a NUL character",
    LOCAL + 'root = "/"': "[destinations.x]: root must not be the root of the file system",
    # the environment
    destination('space = "${SPCAE}"'): (
        "[destinations.x] space: the variable SPCAE is not set (did you mean 'SPACE'?)"
    ),
    destination('space = "${NO_SUCH_THING}"'): (
        "[destinations.x] space: the variable NO_SUCH_THING is not set "
        "(set it, or leave the line out if it is optional)"
    ),
    destination('space = "${SECRET_OF_SPACE}"'): (  # not $SPACE: of one family, and another thing
        "[destinations.x] space: the variable SECRET_OF_SPACE is not set "
        "(set it, or leave the line out if it is optional)"
    ),
    destination('space = "${"'): (
        "[destinations.x] space: '${' names no variable (write ${NAME}, or $${ for a literal ${)"
    ),
    destination('space = "${a-b}"'): (
        "[destinations.x] space: '${a-b}' names no variable (write ${NAME}, or $${ for a literal ${)"
    ),
    destination('limits = { part_size = "${NO_SUCH_THING}" }'): (
        "[destinations.x] limits.part_size: the variable NO_SUCH_THING is not set "
        "(set it, or leave the line out if it is optional)"
    ),
    # limits
    destination("limits = 7"): "[destinations.x] limits: takes a table, { name = value }",
    destination("limits = { part_sise = 1 }"): (
        "[destinations.x] limits.part_sise: unknown limit 'part_sise' (did you mean 'part_size'?)"
    ),
    destination('limits = { bandwidth = "200MiB/s" }'): (
        "[destinations.x] limits.bandwidth: this version does not act on it (leave it out)"
    ),
    destination('limits = { part_size = "5 MB" }'): (
        "[destinations.x] limits.part_size: has no unit 'MB'; write \"5MiB\" if you mean powers of 1,024"
    ),
    destination("limits = { part_size = 0 }"): (
        "[destinations.x] limits.part_size: must be between 64KiB and 1GiB for this backend"
    ),
    destination("limits = { part_size = -65536 }"): (
        "[destinations.x] limits.part_size: must be between 64KiB and 1GiB for this backend"
    ),
    destination('limits = { part_size = "6GiB" }'): (
        "[destinations.x] limits.part_size: must be between 64KiB and 1GiB for this backend"
    ),
    destination('capabilities = { min_part = "5MiB" }\nlimits = { part_size = "4MiB" }'): (
        "[destinations.x] limits.part_size: must be between 5MiB and 1GiB for this backend"
    ),
    destination('limits = { part_size = "100KiB" }'): (
        "[destinations.x] limits.part_size: must be a multiple of 64KiB"
    ),
    destination('capabilities = { part_multiple = "256KiB" }\nlimits = { part_size = "320KiB" }'): (
        "[destinations.x] limits.part_size: must be a multiple of 256KiB"
    ),
    destination("limits = { concurrency = 0 }"): "[destinations.x] limits.concurrency: must be between 1 and 64",
    destination("limits = { concurrency = 65 }"): "[destinations.x] limits.concurrency: must be between 1 and 64",
    destination("limits = { concurrency = '8' }"): (
        "[destinations.x] limits.concurrency: takes a whole number, not text"
    ),
    # capabilities
    destination("capabilities = { uniform = true }"): (
        "[destinations.x] capabilities.uniform: unknown capability 'uniform' (did you mean 'uniform_parts'?)"
    ),
    destination('capabilities = { max_part = "2GiB" }'): (
        "[destinations.x] capabilities.max_part: the backend's own value is 1GiB (narrow it, not widen it)"
    ),
    destination("capabilities = { any_process = true }"): (
        "[destinations.x] capabilities.any_process: the backend's own value is false (narrow it, not widen it)"
    ),
    destination("capabilities = { checksums = ['md5'] }"): (
        "[destinations.x] capabilities.checksums: the backend's own value is ('crc32c',) (narrow it, not widen it)"
    ),
    destination("capabilities = { create_only = 'no' }"): (
        "[destinations.x] capabilities.create_only: takes true or false, not text"
    ),
    destination('capabilities = { min_part = "2MiB", max_part = "1MiB" }'): (
        "[destinations.x] capabilities: min_part is larger than max_part"
    ),
    # names
    destination('prefix = "/up/"'): (
        '[destinations.x] prefix: must be a relative path without `.` and `..` (for example "uploads/")'
    ),
    destination('prefix = "a/../b"'): (
        '[destinations.x] prefix: must be a relative path without `.` and `..` (for example "uploads/")'
    ),
    destination('prefix = "a\\nb"'): "[destinations.x] prefix: holds a control character",
    destination("prefix = 7"): "[destinations.x] prefix: takes text",
    destination('key_template = ""'): "[destinations.x] key_template: is empty (leave it out)",
    # routes
    'default = "x"\n' + destination('[routes.r]\nmirror = ["x", "xy"]'): (
        "[routes.r] mirror: unknown destination 'xy' (did you mean 'x'?)"
    ),
    'default = "x"\n' + destination('[routes.r]\nmirror = ["x", "x"]'): (
        "[routes.r] mirror: names a destination twice"
    ),
    'default = "x"\n' + destination('[routes.r]\nmirror = "x"'): "[routes.r] mirror: takes a list of destinations",
    'default = "x"\n' + destination("[routes.r]"): "[routes.r] mirror: takes a list of destinations",
    'default = "x"\n' + destination('[routes.r]\nfailover = ["x"]'): (
        "[routes.r] failover: this version does not act on it (use mirror)"
    ),
    'default = "x"\n' + destination('[routes.r]\nmirror = ["x"]\ndone_when = "any"'): (
        '[routes.r] done_when: this version does not act on it (leave it out, or write "all")'
    ),
    'default = "x"\n' + destination('[routes.r]\nmirror = ["x"]\ndone_wehn = "all"'): (
        "[routes.r] done_wehn: unknown key 'done_wehn' (did you mean 'done_when'?)"
    ),
    'default = "x"\n' + destination('[routes.x]\nmirror = ["x"]'): (
        "[routes.x]: a destination is called 'x' too (choose another name)"
    ),
    # credentials
    destination('[credentials.c]\nheaders = { A = "${SPACE}" }'): (
        '[credentials.c] hosts: takes a list of the hosts they may be sent to, ["files.example"]'
    ),
    destination('[credentials.c]\nhosts = ["a.example"]'): (
        '[credentials.c] headers: takes a table, { Authorization = "Bearer ${TOKEN}" }'
    ),
    destination('[credentials.c]\nheaders = { A = "${SPACE}" }\nhosts = ["a.example"]\nhost = "x"'): (
        "[credentials.c] host: unknown key 'host' (did you mean 'hosts'?)"
    ),
    destination('[credentials.c]\nheaders = { A = "${SPACE}" }\nhosts = ["user@a.example"]'): (
        "[credentials.c] hosts: 'user@a.example' is no host (write files.example, or http://10.0.0.5:8080)"
    ),
    destination('[credentials.c]\nheaders = { A = "${SPACE}" }\nhosts = ["a.example/x"]'): (
        "[credentials.c] hosts: 'a.example/x' has a path (headers go to whole hosts)"
    ),
    destination('[credentials.c]\nheaders = { Host = "${SPACE}" }\nhosts = ["a.example"]'): (
        "[credentials.c] headers.Host: is no header that can be set"
    ),
    destination('[credentials.c]\nheaders = { A = "${NOPE}" }\nhosts = ["a.example"]'): (
        "[credentials.c] headers.A: the variable NOPE is not set (set it, or leave the line out if it is optional)"
    ),
    destination('[credentials.c]\nheaders = { A = "${CRLF}" }\nhosts = ["a.example"]'): (
        "[credentials.c] headers.A: is empty, too long, or has characters that no header may have"
    ),
    destination('[credentials.c]\nheaders = { A = "plain" }\nhosts = ["a.example"]'): (
        "[credentials.c] headers.A: is a secret in a file that everybody on this machine can read "
        "(take it from the environment with ${NAME}, or chmod o-r the file)"
    ),
    # actors
    destination("[actors.a]\nquue = 'default'"): "[actors.a] quue: unknown key 'quue' (did you mean 'queue'?)",
    destination("[actors.a]\nqueue = 'two words'"): (
        '[actors.a] queue: is no name that Dramatiq takes (write it as in your code: queue = "…")'
    ),
    destination("[actors.a]\nactor = 7"): (
        '[actors.a] actor: is no name that Dramatiq takes (write it as in your code: actor = "…")'
    ),
    destination("[actors.a]\nnamespace = '${NOPE}'"): (
        "[actors.a] namespace: the variable NOPE is not set (set it, or leave the line out if it is optional)"
    ),
    destination("[actors.'a.b']"): "[actors.'a.b']: a name has 1 to 64 letters, digits, - and _",
    destination("[actors.a]\nbroker_url = 'redis://:hush@redis.test/0'"): (
        "[actors.a] broker_url: is a secret in a file that everybody on this machine can read "
        "(take it from the environment with ${NAME}, or chmod o-r the file)"
    ),
    **{
        destination(f"[actors.a]\nbroker_url = {url!r}"): (
            "[actors.a] broker_url: is no address of a Redis (write redis://HOST:PORT/DATABASE, rediss://… or unix://…)"
        )
        for url in ("amqp://hush@a.test/", "redis://", "redis://a.test:no/0", "unix://", 7, "redis://[a/0")
    },
}


@pytest.mark.parametrize("content", MISTAKES)
def test_a_mistake_is_one_line_that_says_where_and_what(write: Write, content: str) -> None:
    assert faults(write(content), {"SPACE": "a", "CRLF": "a\r\nb: c"}) == [MISTAKES[content]]


def test_credentials_are_for_hosts_by_https_unless_it_is_written_out(write: Write) -> None:
    path = write(
        destination(
            '[credentials.partner]\nheaders = { Authorization = "Bearer ${TOKEN}" }\n'
            'hosts = ["Files.example", "b.example:8443", "http://10.0.0.5:8080"]'
        )
    )
    found = load(path, {"TOKEN": "hush"}).credentials["partner"]
    assert found.headers == {"Authorization": "Bearer hush"}
    assert found.origins == {"https://files.example", "https://b.example:8443", "http://10.0.0.5:8080"}
    assert "hush" not in repr(found)


def test_an_actor_is_called_like_its_table_and_its_broker_is_ours(write: Write) -> None:
    more = (
        "[actors.b]\nactor = 'make_b'\nqueue = 'q.b'\nnamespace = 'n'\nbroker_url = 'rediss://:${WORD}@a.test:6380/2'"
    )
    found = load(write(destination(f"[actors.a]\n{more}")), {"WORD": "hush"}).actors
    assert found["a"] == UserActor("a", actor="a", queue="default", namespace="dramatiq", broker_url=None)
    assert found["b"] == UserActor("b", "make_b", "q.b", "n", "rediss://:hush@a.test:6380/2")
    assert "hush" not in repr(found)


def test_all_mistakes_are_told_at_once(write: Write) -> None:
    found = faults(
        write(GOOD.replace('"local"', '"lcoal"').replace("16MiB", "16MB").replace('"all"', '"any"')), {"SPACE": ""}
    )
    assert [line.split(":")[0] for line in found] == [
        "[destinations.media] backend",
        "[destinations.trial] limits.part_size",
        "[routes.everywhere] done_when",
    ]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"\xef\xbb\xbfdefault = 1", "the file starts with a byte order mark (save it as UTF-8 without BOM)"),
        (b"# caf\xe9", "byte 5 is not UTF-8 (save the file as UTF-8)"),
        ("x = 1".encode("utf-16"), "byte 0 is not UTF-8 (save the file as UTF-8)"),
        (b"#" * (2**20 + 1), "the file is larger than 1 MiB (this cannot be a configuration)"),
    ],
)
def test_what_is_no_text_file_is_refused(write: Write, content: bytes, fault: str) -> None:
    assert faults(write(content)) == [fault]


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path / "missing.toml") == ["cannot be read: No such file or directory"]
    assert faults(tmp_path) == ["cannot be read: Is a directory"]


S3 = '[destinations.x]\nbackend = "s3"\nbucket = "bucket"\n'


def test_a_secret_that_everybody_can_read_is_refused_and_not_printed(write: Write) -> None:
    path = write(S3 + 'key = "k"\nsecret = "hunter2"')
    path.chmod(0o644)
    found = "\n".join(faults(path))
    assert "[destinations.x] secret: is a secret in a file that everybody on this machine can read" in found
    assert "hunter2" not in found
    path.chmod(0o640)
    assert load(path, {}).default == "x"


FSSPEC = '[destinations.x]\nbackend = "fsspec"\n'


def test_a_secret_inside_a_table_of_options_is_found_too(write: Write) -> None:
    path = write(FSSPEC + 'url = "sftp://files.example/in"\noptions = { username = "acme", password = "hunter2" }')
    path.chmod(0o644)
    found = "\n".join(faults(path))
    assert "[destinations.x] options.password: is a secret in a file that everybody on this machine" in found
    assert "username" not in found
    assert "hunter2" not in found
    path.chmod(0o640)
    assert load(path, {}).default == "x"


@pytest.mark.parametrize(
    "options", ['{ username = "acme", key_filename = "/etc/key", port = 2222 }', '{ password = "${PASSWORD}" }']
)
def test_what_is_no_secret_inside_a_table_may_stand_there(write: Write, options: str) -> None:
    path = write(FSSPEC + f'url = "sftp://files.example/in"\noptions = {options}')
    path.chmod(0o644)
    assert load(path, {"PASSWORD": "hunter2"}).default == "x"


def test_a_secret_from_the_environment_may_stand_in_a_file_for_all(write: Write) -> None:
    path = write(S3 + 'key = "${KEY}"\nsecret = "${SECRET}"')
    path.chmod(0o644)
    configuration = load(path, {"KEY": "k", "SECRET": "hunter2"})
    assert "hunter2" not in repr(configuration)


def test_a_destination_may_not_lie_in_the_spool_nor_contain_it(write: Write, tmp_path: Path) -> None:
    reserved = {"the spool": tmp_path / "var" / "spool"}
    for root in ("var/spool", "var/spool/objects", "var", ".", "other/../var/spool"):
        found = faults(write(LOCAL + f'root = "{root}"'), reserved=reserved)
        assert found == ["[destinations.x] root: lies in the spool or contains it (choose a directory apart from it)"]
    load(write(LOCAL + 'root = "var/spool-not"'), {}, reserved=reserved)


def test_neither_may_a_directory_that_is_named_by_an_address(write: Write, tmp_path: Path) -> None:
    reserved = {"the spool": tmp_path / "var" / "spool"}
    for root in ("var/spool", "var/spool/objects", "var"):
        found = faults(write(FSSPEC + f'url = "file://{tmp_path}/{root}"'), reserved=reserved)
        assert found == ["[destinations.x] url: lies in the spool or contains it (choose a directory apart from it)"]
    load(write(FSSPEC + f'url = "file://{tmp_path}/elsewhere"'), {}, reserved=reserved)


def test_the_fingerprint_follows_what_it_means_and_not_the_secrets(write: Write) -> None:
    def fingerprint(text: str, **environ: str) -> str:
        return load(write(S3 + text), {"KEY": "k", "SECRET": "s", **environ}).destinations["x"].fingerprint

    secrets = 'key = "${KEY}"\nsecret = "${SECRET}"\n'
    first = fingerprint(secrets)
    assert len(first) == 16
    assert fingerprint(secrets, SECRET="another") == first
    assert fingerprint(secrets + "limits = { concurrency = 2 }") == first
    assert fingerprint(secrets + 'prefix = "p/"') != first
    assert fingerprint(secrets + 'endpoint_url = "http://127.0.0.1:9"') != first


NAMES = st.text(string.ascii_uppercase + "_", min_size=1, max_size=8)


@given(values=st.dictionaries(NAMES, st.text(max_size=20), min_size=1), before=st.text(max_size=10), data=st.data())
def test_what_a_variable_holds_is_put_in_as_it_is(values: dict[str, str], before: str, data: st.DataObject) -> None:
    """Whatever the value says, `${OTHER}` included, is not looked at again."""
    name = data.draw(st.sampled_from(sorted(values)))
    found = FaultList("file")
    literal = before.replace("$", "S")
    text = f"{literal}${{{name}}}-$${{{name}}}"
    assert expand(text, values, found, "place") == f"{literal}{values[name]}-${{{name}}}"
    assert found.found == []


@given(
    st.recursive(
        st.integers() | st.booleans() | st.text("abc{}", max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner),
    )
)
def test_what_refers_to_nothing_is_left_alone(value: Any) -> None:
    found = FaultList("file")
    assert expand(value, {}, found, "place") == value
    assert found.found == []


@given(st.binary(max_size=200))
def test_no_file_whatever_it_holds_is_more_than_a_configuration_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "plugins.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError):
        load(path, {})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=3,
)


@given(
    key=st.sampled_from(["backend", "space", "fail", "seed", "limits", "capabilities", "prefix", "key_template", "x"]),
    value=VALUES,
)
def test_no_value_of_any_key_is_more_than_a_configuration_error(key: str, value: Any) -> None:
    found = FaultList("file")
    made = read_destination("x", {"backend": "memory", key: value}, Surroundings(Path("/"), {}, {}, False, found))
    assert (made is None) == bool(found.found)
