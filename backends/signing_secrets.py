"""Reads the `[webhooks]` table of plugins.toml: the secrets that webhooks are signed with."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from backends.destinations import Surroundings
from backends.expansion import expand, has_reference

_PREFIX = "whsec_"


@dataclass(frozen=True)
class Secrets:
    """The keys that count now; several while they are changed. They are never printed."""

    keys: tuple[bytes, ...] = field(default=(), repr=False)


def read_secrets(table: Any, around: Surroundings) -> Secrets:
    """`secret` is one text or a list of them: a new one beside the old one as long as receivers still check the old."""
    if table is None:
        return Secrets()
    faults = around.faults
    if not isinstance(table, dict):
        faults.add("webhooks", "takes a table", 'write [webhooks] and secret = "${WEBHOOK_SECRET}"')
        return Secrets()
    for key in table:
        if key != "secret":
            faults.add_unknown(f"[webhooks] {key}", "key", key, ("secret",))
    given = table.get("secret")
    texts = given if isinstance(given, list) else [given]
    if not texts:
        faults.add("[webhooks] secret", "is empty", 'write secret = "${WEBHOOK_SECRET}"')
    return Secrets(tuple(_key(text, around) for text in texts))


def _key(text: Any, around: Surroundings) -> bytes:
    where, faults = "[webhooks] secret", around.faults
    if not isinstance(text, str):
        faults.add(where, "takes text, or a list of texts", 'write secret = "${WEBHOOK_SECRET}"')
        return b""
    if around.world_readable and not has_reference(text):
        faults.add(
            where,
            "is a secret in a file that everybody on this machine can read",
            "take it from the environment with ${NAME}, or chmod o-r the file",
        )
    before = len(faults.found)
    read = str(expand(text, around.environ, faults, where))
    try:
        key = base64.b64decode(read.removeprefix(_PREFIX), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(faults.found) == before and not (read.startswith(_PREFIX) and 24 <= len(key) <= 64):
        faults.add(where, "is no secret of Standard Webhooks", "whsec_ and the base64 of 24 to 64 random bytes")
    return key
