"""All that is wrong with one request, each fault with a pointer to what it is about."""

from __future__ import annotations

from engine.errors import Invalid


class Faults:
    """Collects what is wrong with a request, so that a client hears everything at once."""

    def __init__(self) -> None:
        self.errors: list[dict[str, str]] = []

    def add(self, pointer: str, detail: str | None) -> None:
        if detail:
            self.errors.append({"pointer": pointer, "detail": detail})

    def raise_if_any(self) -> None:
        if self.errors:
            raise Invalid(self.errors[0]["detail"], errors=self.errors)
