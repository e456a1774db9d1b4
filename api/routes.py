"""Which route a path belongs to: requests are counted by its template, never by the path, which anybody can make up."""

from __future__ import annotations

from collections.abc import Iterable

UNKNOWN = "unknown"


class Routes:
    """Of a closed set of templates. A field at the very end of `/v1/objects` takes the rest of the path."""

    def __init__(self, templates: Iterable[str] = ()) -> None:
        self._plain: set[str] = set()
        self._forms: dict[int, list[tuple[list[str], str]]] = {}
        self._rests: list[tuple[str, str]] = []
        for template in templates:
            if template.endswith("/{key}"):
                self._rests.append((template.partition("{")[0], template))
            elif "{" in template:
                words = template.split("/")
                self._forms.setdefault(len(words), []).append((words, template))
            else:
                self._plain.add(template)

    def of(self, path: str) -> str:
        """The template that a path fits, or `unknown`."""
        if path in self._plain:
            return path
        for beginning, template in self._rests:
            if path.startswith(beginning):
                return template
        given = path.split("/")
        for words, template in self._forms.get(len(given), ()):
            if all(word[:1] == "{" or word == mine for word, mine in zip(words, given, strict=True)):
                return template
        return UNKNOWN
