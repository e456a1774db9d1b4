"""What is built and installed holds everything that runs: four packages, their scripts, and who finds them by name."""

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in the built wheel."""
    directory = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (built,) = directory.glob("bucketline-*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_every_file_of_the_four_packages_is_in_it(wheel: set[str]) -> None:
    for package in ("bucketline", "api", "engine", "backends"):
        files = {
            path
            for path in (ROOT / package).rglob("*")
            if path.suffix in (".py", ".lua", ".typed", ".html", ".css", ".js")
        }
        assert {str(path.relative_to(ROOT)) for path in files} <= wheel
        assert f"{package}/py.typed" in wheel


def test_the_ledgers_scripts_are_in_it(wheel: set[str]) -> None:
    assert any(name.startswith("engine/scripts/") and name.endswith(".lua") for name in wheel)


def test_nothing_else_is_in_it(wheel: set[str]) -> None:
    tops = {name.partition("/")[0] for name in wheel}
    assert tops == {"bucketline", "api", "engine", "backends", f"bucketline-{PROJECT['version']}.dist-info"}


def test_the_backends_are_found_by_name() -> None:
    found = {point.name for point in entry_points(group="bucketline.backends") if point.dist.name == "bucketline"}
    assert found == {"memory", "local", "s3", "gcs", "azure", "fsspec"}


def test_every_dependency_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    tables = text.partition("\ndependencies = [")[2].partition("[project.scripts]")[0]
    lines = tables.splitlines()
    for number, line in enumerate(lines):
        if re.match(r'  "(?!bucketline\[)', line):
            assert "#" in line or lines[number - 1].strip().startswith("#"), line


def test_every_dependency_is_pinned_with_hashes_and_nothing_tells_where_it_came_from() -> None:
    text = (ROOT / "constraints.txt").read_text()
    pinned = {re.split(r"[=\[]", line)[0] for line in text.splitlines() if re.match(r"^\S+==", line)}
    extras = PROJECT["optional-dependencies"]
    asked = [*PROJECT["dependencies"], *(need for needs in extras.values() for need in needs)]
    names = {re.split(r"[\[><=~!; ]", need)[0].lower() for need in asked} - {"bucketline"}
    assert names <= pinned
    lines = re.findall(r"^\S.*", text, flags=re.MULTILINE)[1:]
    assert len(lines) == len(re.findall(r"^\S+==\S+ (?:; .+ )?\\\n    --hash=sha256:", text, flags=re.MULTILINE))
    assert not re.search(r"://|/home|/opt|/tmp|index", text)


def test_the_version_is_said_once() -> None:
    import bucketline

    assert bucketline.__version__ == PROJECT["version"]
