"""Finding backends: ours, a third party's, and those that cannot be used."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends import registry
from backends.config import ConfigurationError, load
from backends.memory import MemoryPlugin
from backends.memory_faults import MemoryOptions
from backends.registry import Destination, RegistryError

Install = Callable[..., None]

THIRD_PARTY = """
    from backends.memory import MemoryPlugin

    class Plugin(MemoryPlugin):
        name = "shelf"

    class Misnamed(MemoryPlugin):
        name = "other"

    class Unfinished:
        name = "shelf"

    class Wanting(Plugin):
        def __init__(self, options):
            pass
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution with one module and one entry point, as pip would lay it out."""

    def install(distribution: str, entry: str, code: str = THIRD_PARTY) -> None:
        site = tmp_path / distribution
        about = site / f"{distribution}-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[bucketline.backends]\n{entry}\n")
        (site / f"{distribution}.py").write_text(textwrap.dedent(code))
        monkeypatch.syspath_prepend(str(site))

    registry.plugin.cache_clear()
    yield install
    registry.plugin.cache_clear()
    for name in [name for name in sys.modules if name.startswith("shelf_")]:
        del sys.modules[name]


def test_our_own_backends_need_no_installation() -> None:
    assert {"local", "memory", "s3"} <= set(registry.names())
    assert isinstance(registry.plugin("memory"), MemoryPlugin)


def test_a_third_partys_backend_is_found_by_its_entry_point(install: Install, tmp_path: Path) -> None:
    install("shelf_one", "shelf = shelf_one:Plugin")
    assert "shelf" in registry.names()
    (tmp_path / "plugins.toml").write_text('[destinations.x]\nbackend = "shelf"\nspace = "third"')
    destination = load(tmp_path / "plugins.toml", {}).destinations["x"]
    assert destination.backend == "shelf"
    assert destination.build().capabilities == destination.capabilities


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("shelf = shelf_bad:Misnamed", "backend 'shelf' (shelf_bad:Misnamed) calls itself 'other'"),
        (
            "shelf = shelf_bad:Unfinished",
            "backend 'shelf' (shelf_bad:Unfinished) is no plug-in: it lacks Options, secrets, capabilities, url, build",
        ),
        ("shelf = shelf_bad:Wanting", "backend 'shelf' (shelf_bad:Wanting) is no plug-in: TypeError: "),
        ("shelf = shelf_bad:Missing", "cannot be imported: module 'shelf_bad' has no attribute 'Missing'"),
        ("shelf = shelf_absent:Plugin", "cannot be imported: No module named 'shelf_absent'"),
    ],
)
def test_a_backend_that_cannot_be_used_is_a_loud_error(
    install: Install, tmp_path: Path, entry: str, problem: str
) -> None:
    install("shelf_bad", entry)
    (tmp_path / "plugins.toml").write_text('[destinations.x]\nbackend = "shelf"')
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path / "plugins.toml", {})
    assert f"plugins.toml: [destinations.x] backend: {'backend' if problem.startswith('backend') else ''}" in str(
        raised.value
    )
    assert problem in str(raised.value)
    assert "did you mean" not in str(raised.value)


def test_a_module_that_fails_when_it_is_imported_is_told_with_its_reason(install: Install) -> None:
    install("shelf_broken", "shelf = shelf_broken:Plugin", "raise RuntimeError('the SDK is too old')")
    with pytest.raises(RegistryError, match="backend 'shelf' cannot be imported: the SDK is too old"):
        registry.plugin("shelf")


def test_two_backends_of_one_name_are_refused(install: Install) -> None:
    install("shelf_one", "shelf = shelf_one:Plugin")
    install("shelf_two", "shelf = shelf_two:Plugin")
    with pytest.raises(RegistryError, match="two backends are called 'shelf': shelf_one:Plugin and shelf_two:Plugin"):
        registry.plugin("shelf")


def test_nobody_replaces_a_built_in_backend(install: Install) -> None:
    install("shelf_evil", "local = shelf_evil:Plugin")
    with pytest.raises(RegistryError, match="two backends are called 'local'"):
        registry.plugin("local")


def test_a_backend_that_no_destination_names_is_not_imported(install: Install, tmp_path: Path) -> None:
    install("shelf_broken", "shelf = shelf_broken:Plugin", "raise RuntimeError('imported')")
    (tmp_path / "plugins.toml").write_text('[destinations.x]\nbackend = "memory"')
    assert load(tmp_path / "plugins.toml", {}).default == "x"


def test_reading_a_configuration_imports_no_cloud_library(tmp_path: Path) -> None:
    """The API process reads plugins.toml too, and its idle memory is a promise."""
    (tmp_path / "plugins.toml").write_text(
        'default = "a"\n[destinations.a]\nbackend = "s3"\nbucket = "bucket"\n'
        '[destinations.b]\nbackend = "local"\nroot = "x"'
    )
    code = """
        import sys
        from pathlib import Path
        from backends.config import load
        configuration = load(Path("plugins.toml"))
        assert configuration.destinations["a"].url_for("key") == "s3://bucket/key"
        print(sorted({"s3fs", "fsspec", "botocore", "aiobotocore", "aiohttp", "urllib3", "pytest"} & set(sys.modules)))
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert (ran.stdout.strip(), ran.stderr) == ("[]", "")


@pytest.mark.parametrize(
    ("library", "table", "told"),
    [
        ("s3fs", 'backend = "s3"\nbucket = "bucket"', r'No module named .s3fs.\. Try: pip install "bucketline\[s3\]"'),
        ("gcsfs", 'backend = "gcs"\nbucket = "bucket"', r'Try: pip install "bucketline\[gcs\]"'),
        ("azure", 'backend = "azure"\ncontainer = "ccc"\naccount_name = "a"', "bucketline.azure"),
        ("paramiko", 'backend = "fsspec"\nurl = "sftp://x/y"', "No module named .paramiko."),
        ("smbclient", 'backend = "fsspec"\nurl = "smb://x/y"', "smbprotocol"),
        ("webdav4", 'backend = "fsspec"\nurl = "webdav://x/y"', "webdav4"),
    ],
)
def test_a_library_that_is_not_installed_is_told_before_anything_is_tried(
    library: str, table: str, told: str, tmp_path: Path
) -> None:
    """As in an image that was built for other stores: no retry helps, so the error says what to install."""
    (tmp_path / "plugins.toml").write_text(f"[destinations.away]\n{table}\n")
    code = f"""
        import importlib.abc, sys
        from pathlib import Path
        from backends.config import load
        from backends.errors import PermanentError

        class Missing(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name.split(".")[0] == {library!r}:
                    raise ModuleNotFoundError(f"No module named {{name!r}}")

        sys.meta_path.insert(0, Missing())
        try:
            load(Path("plugins.toml")).destinations["away"].build()
        except PermanentError as error:
            print(error)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert ran.stdout.startswith("Destination 'away' needs a library that is not installed here: "), ran.stderr
    assert re.search(told, ran.stdout)


def test_a_destination_puts_its_prefix_before_every_key() -> None:
    options = MemoryOptions(space="shelf")
    destination = Destination("x", MemoryPlugin(), options, MemoryPlugin().capabilities(options), prefix="up/")
    assert destination.full_key("a/b") == "up/a/b"
    assert destination.url_for("a/b") == "memory://shelf/up/a/b"


def test_a_destination_can_be_handed_to_another_process() -> None:
    options = MemoryOptions(space="shelf")
    destination = Destination("x", MemoryPlugin(), options, MemoryPlugin().capabilities(options))
    handed: Destination = pickle.loads(pickle.dumps(destination))
    assert handed.options == options
    assert handed.fingerprint == destination.fingerprint
