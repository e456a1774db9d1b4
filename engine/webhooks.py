"""Tells those who asked that a job has ended, webhooks and actors: tried for about a day, at least once."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import structlog

from backends.addresses import Rules
from backends.errors import BackendError
from backends.transport import retry_after
from backends.web import Web
from engine import deliveries, operations
from engine.errors import LedgerUnavailable
from engine.hook_views import Attempt, Standing, read_delivery, read_standing
from engine.messenger import Messenger
from engine.models import dumps
from engine.records import JobRecord
from engine.views import job_view

if TYPE_CHECKING:
    from engine.runtime import Runtime

log = structlog.get_logger("bucketline.webhooks")

CLAIM_MORE_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 86_400.0
AT_ONCE = 8
LOOK_SECONDS = 0.5
AGAIN_SECONDS = 0.02  # where many ends come at once, hands must not wait for work


def signature(keys: Iterable[bytes], delivery: str, at: int, body: bytes) -> str:
    """The header: one signature for each secret that counts."""
    signed = f"{delivery}.{at}.".encode() + body
    made = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
    return " ".join(f"v1,{one}" for one in made)


def body_of(record: JobRecord, delivery: str, ended_ms: int) -> bytes:
    """What is told: the job as GET shows it, as it was when this run ended, whatever was begun since."""
    about = read_delivery(delivery)
    ended = datetime.fromtimestamp(ended_ms / 1000, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    data = job_view(record) | {"run": about.run, "state": about.state}
    return msgspec.json.encode({"type": f"job.{about.state}", "timestamp": f"{ended}Z", "data": data})


def decide(
    standing: Standing, attempt: Attempt, waits: tuple[float, ...], jitter: float, after: float | None
) -> tuple[Standing, float | None]:
    """How the delivery stands after this attempt, and the seconds until the next (None: there is none)."""
    state, delay = "pending", None
    if attempt.arrived:
        state = "delivered"
    elif attempt.status == 410:
        state = "disabled"
    elif standing.tries >= len(waits):
        state = "failed"
    else:
        wait = waits[standing.tries] * (0.8 + 0.4 * jitter)
        delay = min(max(wait, after or 0.0), LONGEST_WAIT_SECONDS)
    return standing.after(attempt, state), delay


class Courier:
    """One thread per worker process, which has a few others deliver: a slow receiver keeps nobody waiting."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        settings = runtime.settings
        rules = Rules.of(settings.webhook_ports, settings.webhook_allow, "BUCKETLINE_WEBHOOK")
        self._web = Web(rules, header_seconds=settings.webhook_timeout_seconds)
        self._messenger = Messenger(runtime)
        # More than a try can take: who is still waiting for an answer is not overtaken.
        self._claim_seconds = 2 * settings.webhook_timeout_seconds + CLAIM_MORE_SECONDS
        self._pool = ThreadPoolExecutor(AT_ONCE, "webhooks")
        self._under_way: set[Future[None]] = set()

    def forever(self) -> None:
        pause = LOOK_SECONDS
        while not self._runtime.stopping.wait(pause):
            pause = LOOK_SECONDS
            try:
                if self.round():
                    pause = AGAIN_SECONDS
            except LedgerUnavailable:
                continue  # Redis is away: what is due stays due
            except Exception:
                log.exception("webhooks could not be looked after; tried again")
        self._pool.shutdown(wait=False, cancel_futures=True)

    def round(self) -> bool:
        """Takes as many as there are free hands, and says whether more may be waiting."""
        self._under_way = {one for one in self._under_way if not one.done()}
        room = AT_ONCE - len(self._under_way)
        due = self._runtime.ledger.run(deliveries.due_hooks(room, self._claim_seconds)) if room else []
        for delivery, standing in due:
            self._under_way.add(self._pool.submit(self._deliver, delivery, standing))
        return len(due) == room

    def _deliver(self, delivery: str, standing: str) -> None:
        job = delivery.partition(".")[0]
        try:
            self.deliver(delivery, standing)
        except LedgerUnavailable:
            log.warning("a webhook's outcome could not be noted; it is delivered again", webhook=delivery, job=job)
        except Exception as error:
            name = type(error).__name__
            log.error("a webhook could not be delivered; tried again", webhook=delivery, job=job, error=name)

    def deliver(self, delivery: str, found: str) -> None:
        """One try. Its outcome is noted behind it: who dies in between delivers again. `found`: how it stands."""
        runtime, about, standing = self._runtime, read_delivery(delivery), read_standing(found)
        record = runtime.ledger.run(operations.read_jobs([about.job]))[0]
        if record is None or (record.spec.webhook is None and not about.actor):
            return
        attempt, after = self._tell(record, delivery, standing.created_ms)
        new, delay = decide(standing, attempt, runtime.settings.webhook_waits, runtime.jitter(), after)
        kind, outcome = "actor" if about.actor else "webhook", "retry" if new.state == "pending" else new.state
        runtime.counters.delivery(kind, outcome)
        runtime.ledger.run(deliveries.note_hook(delivery, dumps(new), delay, found))
        if new.state in ("failed", "disabled"):
            names = {"job": about.job, **record.spec.trace}
            log.warning("a delivery is given up", webhook=delivery, status=attempt.status, error=attempt.error, **names)

    def _tell(self, record: JobRecord, delivery: str, ended_ms: int) -> tuple[Attempt, float | None]:
        """Posts it or sends it, and how long the receiver wants to be left alone."""
        body, actor = body_of(record, delivery, ended_ms), read_delivery(delivery).actor
        if actor:
            return self._messenger.send(actor, delivery, body), None
        return self._post(record.spec.webhook or "", delivery, body)

    def _post(self, url: str, delivery: str, body: bytes) -> tuple[Attempt, float | None]:
        keys = self._runtime.configuration.webhooks.keys
        at_ms = int(time.time() * 1000)
        if not keys:
            return Attempt(at_ms, None, "plugins.toml has no secret in [webhooks] any more."), None
        headers = {
            "content-type": "application/json",
            "webhook-id": delivery,
            "webhook-timestamp": str(at_ms // 1000),
            "webhook-signature": signature(keys, delivery, at_ms // 1000, body),
        }
        try:
            answer = self._web.post(url, headers, body, self._runtime.settings.webhook_timeout_seconds)
        except BackendError as error:
            return Attempt(at_ms, None, error.detail[:300] or error.title), None
        answer.close()
        fault = "" if 200 <= answer.status < 300 else f"The receiver answered {answer.status}; only 2xx is success."
        return Attempt(at_ms, answer.status, fault), retry_after(answer.headers)
