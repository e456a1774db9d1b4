"""Builds the documentation site out of the Markdown files of this repository, as they are.

    python deploy/pages.py [DIRECTORY]        (`make docs`: into site/)

Every page of `docs/` is in it: those that `SECTIONS` does not name stand under "More". Pages lie as in the repository,
so that their links lead to the same places. A link or an anchor that leads nowhere ends the build.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ABOVE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "examples/*/README.md")
"""Pages that lie elsewhere than in docs/."""

SECTIONS: dict[str, tuple[str, ...]] = {
    "Quick start": ("README.md",),
    "Concepts": ("docs/concepts.md", "docs/architecture.md", "docs/objects.md", "docs/sources.md"),
    "How to": ("docs/how-to/*.md", "examples/*/README.md", "docs/backends/write-your-own.md", "docs/testing.md"),
    "Reference": (
        "docs/command.md", "docs/client.md", "docs/problems.md", "docs/tus.md", "docs/webhooks.md", "docs/actors.md",
        "docs/metrics.md", "docs/page.md", "docs/backends/*.md",
    ),
    "Operations": ("docs/operations.md", "docs/security.md"),
    "Performance": ("docs/performance.md", "docs/backends/speed.md"),
    "More": ("docs/*.md", "docs/*/*.md"),
    "Project": ("docs/versions.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    "Decisions": ("docs/decisions/*.md",),
}  # fmt: skip
"""What stands where; a page is where it is first named, but for "More", which takes what nobody names."""
DECISIONS = "docs/decisions/index.md"
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#:]+)([^)\s]*)\)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def build(target: Path) -> str:
    """Make the site in `target`, which is emptied; returns what the generator says. SystemExit names what is wrong."""
    with tempfile.TemporaryDirectory(prefix="bucketline-site-") as name:
        folder = Path(name)
        _lay_out(folder / "pages")
        (folder / "mkdocs.yml").write_text(json.dumps(_project()))  # JSON is YAML
        zensical = [sys.executable, "-P", "-m", "zensical", "build", "--strict"]
        done = subprocess.run(zensical, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            told = _COLOUR.sub("", done.stdout + done.stderr).partition("Traceback (")[0]
            raise SystemExit(f"the site cannot be built:\n{told}")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder / "site", target)
        return done.stdout


def navigation() -> list[dict[str, object]]:
    """Each section with its pages, none of which is empty."""
    named = {page for section, patterns in SECTIONS.items() if section != "More" for page in _found(patterns)}
    placed: set[str] = set()
    found: list[dict[str, object]] = []
    for section, patterns in SECTIONS.items():
        taken = named if section == "More" else placed
        pages = [page for page in _found(patterns) if page not in taken]
        placed.update(pages)
        if section == "Decisions":
            pages.insert(0, DECISIONS)
        if pages:
            found.append({section: pages})
    return found


def _found(patterns: tuple[str, ...]) -> list[str]:
    """The pages that match, in the order of the patterns, each once."""
    every = (str(path.relative_to(ROOT)) for pattern in patterns for path in sorted(ROOT.glob(pattern)))
    return list(dict.fromkeys(every))


def _project() -> dict[str, object]:
    return {
        "site_name": "Bucketline",
        "site_description": "Takes files off a web application's hands",
        "docs_dir": "pages",
        "site_dir": "site",
        "use_directory_urls": False,  # the pages can be read from the disk, without a server
        "nav": navigation(),
        # Nothing comes from elsewhere: no fonts, and pictures are files.
        "theme": {
            "name": "material",
            "font": False,
            "features": ["navigation.indexes", "navigation.top", "toc.follow"],
        },
        "markdown_extensions": ["tables", {"toc": {"permalink": True}}, "pymdownx.superfences", "pymdownx.highlight"],
    }


def _lay_out(folder: Path) -> None:
    """Copy every page to its place, and what pages show or lead to."""
    for page in _pages():
        target = folder / page
        target.parent.mkdir(parents=True, exist_ok=True)
        text = _LINK.sub(lambda link, page=page: _leading(link, page), (ROOT / page).read_text("utf-8"))
        target.write_text(text, encoding="utf-8")
        for file in _files_behind(page):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, folder / file)
    (folder / DECISIONS).parent.mkdir(parents=True, exist_ok=True)
    (folder / DECISIONS).write_text(_list_of_decisions())


def _pages() -> list[str]:
    return _found((*ABOVE, "docs/**/*.md"))


def _leading(link: re.Match[str], page: str) -> str:
    """The link as it is, but one to a folder: that of the decisions has a list, and others are only named."""
    folder = (ROOT / page).parent.joinpath(link[2]).resolve()
    if not folder.is_dir():
        return link[0]
    if folder == (ROOT / DECISIONS).parent:
        return f"[{link[1]}]({link[2].rstrip('/')}/index.md)"
    return link[1]


def _files_behind(page: str) -> Iterator[Path]:
    """Files of ours that are no pages, and that a page leads to."""
    for _, target, _ in _LINK.findall((ROOT / page).read_text("utf-8")):
        path = (ROOT / page).parent.joinpath(target).resolve()
        if path.is_file() and path.suffix != ".md" and path.is_relative_to(ROOT):
            yield path.relative_to(ROOT)


def _list_of_decisions() -> str:
    lines = ["# Decisions", "", "What others will wonder about, and why it is so.", ""]
    for path in sorted((ROOT / "docs/decisions").glob("[0-9]*.md")):
        title = path.read_text("utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({path.name})".replace(". ", "\\. ", 1))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else "site").resolve()
    build(where)
    print(where / "index.html")
