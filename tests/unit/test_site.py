"""The documentation site: every page is in it, nothing of it comes from elsewhere, and a broken link is an error."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests import documents
from tests.documents import ROOT
from tests.servers import needs


@pytest.fixture
def pages() -> ModuleType:
    needs(importlib.util.find_spec("zensical") is not None, "zensical")
    spec = importlib.util.spec_from_file_location("pages", ROOT / "deploy" / "pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_built_and_nothing_comes_from_elsewhere(pages: ModuleType, tmp_path: Path) -> None:
    pages.build(tmp_path / "site")

    ours = [path.relative_to(ROOT) for path in documents.documents()]
    built = [path.with_name("index.html") if path.name == "README.md" else path.with_suffix(".html") for path in ours]
    assert {path for path in built if not (tmp_path / "site" / path).is_file()} == set()
    for path in (tmp_path / "site").rglob("*.html"):
        text = path.read_text("utf-8")
        assert not re.findall(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^\">]*", text), path
        assert 'class="mermaid"' not in text, f"{path}: a drawing of that kind is drawn by a script from elsewhere"
    assert "The life of a job" in (tmp_path / "site" / "index.html").read_text("utf-8")


def test_every_page_has_one_place_in_the_navigation(pages: ModuleType) -> None:
    placed = [page for section in pages.navigation() for found in section.values() for page in found]

    assert sorted(placed) == sorted({*pages._pages(), pages.DECISIONS})


@pytest.mark.parametrize("link", ["[gone](docs/gone.md)", "[gone](docs/there.md#gone)"])
def test_a_link_that_leads_nowhere_ends_the_build(
    pages: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    root = tmp_path / "root"
    (root / "docs" / "decisions").mkdir(parents=True)
    (root / "docs" / "there.md").write_text("# There\n")
    (root / "README.md").write_text(f"# Read me\n\n{link} [there](docs/there.md)\n")
    monkeypatch.setattr(pages, "ROOT", root)

    with pytest.raises(SystemExit, match=r"README\.md:3"):
        pages.build(tmp_path / "site")
    assert not (tmp_path / "site").exists()
