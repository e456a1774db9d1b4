"""Which node's spool has an upload: a key in Redis that lives as long as the upload, so that another node can tell."""

from __future__ import annotations

from contextlib import suppress

from engine.errors import EngineError
from engine.ledger import AsyncLedger


class Elsewhere(EngineError):
    """The upload is in the spool of another node."""

    code = "wrong_node"


class Whereabouts:
    """Of the uploads of `node`. The keys are for telling only: what they say wrongly costs a wrong answer."""

    def __init__(self, ledger: AsyncLedger, node: str) -> None:
        self._ledger = ledger
        self._node = node

    async def note(self, upload: str, seconds: float) -> None:
        """It is here, for so long. A silent Redis does not matter: the next chunk notes it again."""
        with suppress(EngineError):
            await self._ledger.call("SET", self._key(upload), self._node, "PX", int(seconds * 1000))

    async def check(self, upload: str) -> None:
        """Raises Elsewhere for one that is not here but there, or LedgerUnavailable."""
        found = await self._ledger.call("GET", self._key(upload))
        node = found.decode() if found else self._node
        if node != self._node:
            raise Elsewhere(
                f"This upload is in the spool of node {node!r}, and the request reached {self._node!r}. "
                "The load balancer has to send all requests of one upload to the node that made it."
            )

    def _key(self, upload: str) -> str:
        return f"{self._ledger.prefix}tus:{upload}:node"
