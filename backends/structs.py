"""Makes struct types ready for several threads at once.

msgspec works out what a type's fields are when it first decodes one. When two threads are first together, one of them
meets half of the other's work, and the process dies of a segmentation fault (msgspec 0.22.0, seen here on 2026-11-25 in
about one of 150 workers that began with two parts). So types are made ready while there is one thread.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


def prepare_structs() -> None:
    """Work out every struct type that is defined by now. To be called after imports and before threads; it is cheap."""
    for kind in _below(msgspec.Struct):
        try:
            msgspec.json.Decoder(kind)
        except Exception:
            continue  # a type that can only be encoded, or is none of ours: whoever decodes it hears of it


def _below(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for derived in kind.__subclasses__():
        yield derived
        yield from _below(derived)
