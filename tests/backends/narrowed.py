"""What an operator writes to have a part of exactly `max_part` sent: `capabilities = { max_part = "1 MiB" }`."""

from __future__ import annotations

import msgspec

from backends.base import MIB, Capabilities


def for_check(name: str, claims: Capabilities) -> Capabilities:
    """The claims, narrowed for the one check that needs it; for the others parts stay as large as they may be."""
    if not name.startswith("test_a_part_of_exactly_the_largest_size"):
        return claims
    return msgspec.structs.replace(claims, max_part=max(claims.min_part, MIB))
