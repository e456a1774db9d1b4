"""Who may import whom: the arrows of docs/architecture.md, read from the source itself, and what an import may do."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("backends", "engine", "api", "bucketline")

# package -> the packages of ours that it may import beside itself
ARROWS = {
    "backends": set[str](),
    "engine": {"backends"},
    "api": {"engine"},
    "bucketline": {"api", "engine", "backends"},
}

CLOUD = {
    "s3fs", "gcsfs", "adlfs", "azure", "fsspec", "botocore", "aiobotocore", "aiohttp", "boto3", "urllib3", "google",
    "requests",
    "paramiko", "asyncssh", "sshfs", "smbclient", "smbprotocol", "webdav4",
}  # fmt: skip
QUEUE = {"redis", "dramatiq", "hiredis"}
SERVER = {"falcon", "gunicorn", "uvloop"}

# package -> libraries that belong to another one
FOREIGN = {
    "backends": QUEUE | SERVER,
    "engine": SERVER | CLOUD,
    "api": QUEUE | CLOUD | {"awscrt"},
    "bucketline": {"dramatiq", "falcon", "gunicorn"} | CLOUD,
}

# The layers inside the engine: pure modules know no effects, and effects know nothing of those who orchestrate them.
PURE = {"models", "planner", "retry", "errors", "config", "keys", "digests", "records", "operations", "steps", "views",
    "content_types", "access", "admission", "once", "sums", "hook_views", "arrivals", "measures", "faults", "announced",
    "attributes", "refusals", "planning", "work", "strays", "verification", "conflicts",
    "leases", "upkeep", "deliveries", "notices", "setting_values",
}  # fmt: skip
EFFECTS = {
    "record_files",
    "layout",
    "disk",
    "space",
    "write_behind",
    "incoming",
    "staged",
    "unfinished",
    "packs",
    "partials",
    "adopted",
    "pack_records",
    "pack_writer",
    "appendix",
    "known",
    "spool",
    "tombstones",
    "named_files",
    "sources",
    "drawn",
    "stored",
    "imported",
    "ledger",
    "audit",
}

# What a pure module has no use for: networks, disks, threads, clocks and dice come from its callers.
EFFECTFUL = QUEUE | CLOUD | SERVER | {
    "asyncio", "threading", "subprocess", "multiprocessing", "socket", "select", "time", "random", "secrets", "shutil",
    "tempfile", "os", "httpx", "structlog", "uuid_utils",
}  # fmt: skip
READS_ITS_SURROUNDINGS = {"config": {"os", "socket"}, "setting_values": {"os"}}
"""`Settings.from_env` is where the environment and the host's name are read, when it is called."""


class Import(NamedTuple):
    """One import statement: what it names, where it stands, and whether only type checkers ever run it."""

    module: str
    line: int
    for_types: bool


def sources(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts)


def dotted(path: Path) -> str:
    """The name by which `path` is imported."""
    words = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def imports(path: Path) -> Iterator[Import]:
    """Every import in the file, also those inside functions: a late import is an arrow all the same."""
    yield from _imports(ast.parse(path.read_text(encoding="utf-8"), str(path)), dotted(path), for_types=False)


def _imports(node: ast.AST, module: str, *, for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, for_types) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                base = ".".join([*module.split(".")[: -child.level], *filter(None, [child.module])])
            yield Import(base, child.lineno, for_types)
            # `from engine import operations` names the module engine.operations.
            yield from (Import(f"{base}.{alias.name}", child.lineno, for_types) for alias in child.names)
        elif isinstance(child, ast.If) and _asks_for_types(child.test):
            for inner in child.body:
                yield from _imports(ast.Module([inner], []), module, for_types=True)
            for inner in child.orelse:
                yield from _imports(ast.Module([inner], []), module, for_types=for_types)
        else:
            yield from _imports(child, module, for_types=for_types)


def _asks_for_types(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def top(name: str) -> str:
    return name.partition(".")[0]


def told(path: Path, found: Import, why: str) -> str:
    return f"{path.relative_to(ROOT)}:{found.line} imports {found.module}: {why}"


# -- between the packages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", OURS)
def test_a_package_imports_only_those_below_it(package: str) -> None:
    allowed = ARROWS[package] | {package}
    wrong = [
        told(path, found, f"{package} may import {', '.join(sorted(ARROWS[package])) or 'nothing of ours'}")
        for path in sources(package)
        for found in imports(path)
        if top(found.module) in {*OURS, "tests", "benchmarks"} - allowed
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("backends", "from engine.models import JobSpec"),
        ("backends", "def f():\n    import engine"),
        ("engine", "import api.app"),
        ("api", "from backends.registry import names"),
        ("engine", "from bucketline import cli"),
        ("api", "from tests.servers import Valkey"),
    ],
)
def test_an_arrow_against_the_current_is_seen(
    package: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "module.py").write_text(line)
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)

    with pytest.raises(AssertionError, match=r"module\.py:"):
        test_a_package_imports_only_those_below_it(package)


@pytest.mark.parametrize("package", OURS)
def test_a_library_is_used_only_where_it_belongs(package: str) -> None:
    wrong = [
        told(path, found, f"{top(found.module)} has no place in {package}")
        for path in sources(package)
        for found in imports(path)
        if top(found.module) in FOREIGN[package]
    ]
    assert not wrong, "\n".join(wrong)


def test_an_sdk_is_imported_when_a_backend_is_built_and_not_before() -> None:
    """Reading plugins.toml must not cost the API a cloud library: at module level there is none, but for urllib3."""
    wrong = []
    for path in sources("backends"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for found in _imports(ast.Module([node], []), dotted(path), for_types=False):
                inside = isinstance(node, ast.FunctionDef | ast.ClassDef)
                if top(found.module) in CLOUD - {"urllib3"} and not inside and not found.for_types:
                    wrong.append(told(path, found, "import it where the backend is made"))
    assert not wrong, "\n".join(wrong)


# -- inside the engine ------------------------------------------------------------------------------------------------


def engine_imports(path: Path) -> Iterator[tuple[str, Import]]:
    """The modules of the engine that a file really imports, by their short name."""
    for found in imports(path):
        words = found.module.split(".")
        if words[0] == "engine" and len(words) > 1 and not found.for_types:
            yield words[1], found


@pytest.mark.parametrize("name", sorted(PURE))
def test_a_pure_module_knows_only_pure_modules(name: str) -> None:
    path = ROOT / "engine" / f"{name}.py"
    wrong = [told(path, found, "it is not pure") for module, found in engine_imports(path) if module not in PURE]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", sorted(PURE))
def test_a_pure_module_has_no_effects(name: str) -> None:
    path = ROOT / "engine" / f"{name}.py"
    forbidden = EFFECTFUL - READS_ITS_SURROUNDINGS.get(name, set())
    wrong = [
        told(path, found, "a pure module is given what it needs")
        for found in imports(path)
        if top(found.module) in forbidden and not found.for_types
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", sorted(EFFECTS))
def test_effects_do_not_know_who_orchestrates_them(name: str) -> None:
    path = ROOT / "engine" / f"{name}.py"
    wrong = [
        told(path, found, "it stands above") for module, found in engine_imports(path) if module not in PURE | EFFECTS
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("layer", "modules"), [("pure", PURE), ("effects", EFFECTS)])
def test_the_document_names_the_modules_of_a_layer(layer: str, modules: set[str]) -> None:
    lines = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").splitlines()
    row = next(line for line in lines if line.startswith(f"| {layer} |"))
    assert set(re.findall(r"`(\w+)`", row)) == modules


def test_redis_keys_are_known_to_the_ledger_alone() -> None:
    """Commands go through scripts: nobody else asks the ledger's Redis for a key by name."""
    commands = {"hget", "hset", "hgetall", "zadd", "zrange", "zrem", "xadd", "evalsha", "xread", "xrange", "xrevrange"}
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} calls {node.func.attr}"
        for path in sources("engine")
        if path.stem not in ("ledger", "broker")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in commands
    ]
    assert not wrong, "\n".join(wrong)


# -- what an import may do --------------------------------------------------------------------------------------------


def test_importing_reads_no_environment() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} reads the environment when it is imported"
        for package in OURS
        for path in sources(package)
        for line in environment_reads(path.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "import os\nDEBUG = os.environ['DEBUG']",
        "import os\nDEBUG = os.environ.get('DEBUG')",
        "from os import environ\nDEBUG = environ.get('DEBUG')",
        "import os\nDEBUG = os.getenv('DEBUG')",
        "import os\nclass Settings:\n    debug = os.getenv('DEBUG')",
        "import os\ndef f(debug=os.getenv('DEBUG')): ...",
        "import os\nALL = dict(os.environ)",
        "import os\nALL = {k: v for k, v in os.environ.items()}",
    ],
)
def test_a_read_at_import_is_seen(text: str) -> None:
    assert environment_reads(text)


@pytest.mark.parametrize(
    "text",
    [
        "import os\ndef f(): return os.environ['DEBUG']",
        "import os\ndef load(environ=os.environ): return environ['DEBUG']",
        "import os\nif __name__ == '__main__':\n    print(os.environ['DEBUG'])",
    ],
)
def test_a_read_when_called_is_none_at_import(text: str) -> None:
    assert not environment_reads(text)


def environment_reads(text: str) -> list[int]:
    """The lines that read the environment while the module is imported."""
    found = (node for node in _run_at_import(ast.parse(text)) if isinstance(node, ast.expr))
    return [node.lineno for node in found if _reads_environment(node)]


def _run_at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs when the module is imported: all but the bodies of functions, and what `__main__` does."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "__name__ == '__main__'":
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            outside = [*child.decorator_list, *child.args.defaults, *filter(None, child.args.kw_defaults)]
            for expression in outside:
                yield expression
                yield from _run_at_import(expression)
        elif isinstance(child, ast.Lambda):
            continue
        else:
            yield child
            yield from _run_at_import(child)


def _reads_environment(node: ast.expr) -> bool:
    """`os.environ` as such, for example as a default argument, reads nothing: it is the live mapping."""
    if isinstance(node, ast.Subscript):
        return ast.unparse(node.value) in ("os.environ", "environ")
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        return (
            name.endswith("getenv")
            or name.startswith(("os.environ.", "environ."))
            or "os.environ" in map(ast.unparse, node.args)
        )
    return False


IMPORT_ALL = """
import importlib, sys
opened = []
def watch(event, arguments):
    if event in ("socket.connect", "subprocess.Popen", "os.fork", "os.mkdir"):
        opened.append((event, arguments[-1]))
sys.addaudithook(watch)
for name in sys.argv[1:]:
    importlib.import_module(name)
assert not opened, opened
"""

API_MODULES = """
import sys
import api.server, api.asgi, engine.service
cloud = {"s3fs", "fsspec", "botocore", "aiobotocore", "aiohttp", "boto3", "urllib3", "gcsfs"}
found = cloud & {name.partition(".")[0] for name in sys.modules}
assert not found, found
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", "-c", code, *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)


def test_importing_connects_to_nothing_and_starts_nothing() -> None:
    names = [dotted(path) for package in OURS for path in sources(package) if _is_importable(path)]
    done = python(IMPORT_ALL, *names)
    assert done.returncode == 0, done.stderr


def _is_importable(path: Path) -> bool:
    """Tests of the conformance suite and `python -m` entrances are run, not imported."""
    return path.name not in ("conftest.py", "__main__.py") and not path.name.startswith("test_")


def test_the_api_process_carries_no_cloud_library() -> None:
    done = python(API_MODULES)
    assert done.returncode == 0, done.stderr
