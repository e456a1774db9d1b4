"""Which addresses lead to files of this package, all of them open to everybody: they hold no secret."""

from __future__ import annotations

from pathlib import Path

STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}


def media_type(name: str) -> str:
    return _TYPES[Path(name).suffix]


DOCS = {f"/docs{rest}": (name, media_type(name)) for rest, name in [
    ("", "docs.html"), ("/docs.css", "docs.css"), ("/docs.js", "docs.js"),
]}  # fmt: skip
"""Each address of the reference with its file."""
HOME = "page/index.html"
"""What a browser gets at `/`."""
PAGE_FILE = "/page/{file}"
PAGE = {file.name: f"page/{file.name}" for file in sorted((STATIC / "page").glob("*.*"))}
"""What the page at `/` is made of. What is asked for is looked up here and never made into a path."""
OPEN = frozenset({*DOCS, *(PAGE_FILE.format(file=name) for name in PAGE)})
