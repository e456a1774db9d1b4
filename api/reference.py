"""The table of all operations for the reference: what each takes and answers, and how it may be refused."""

from __future__ import annotations

from typing import Any

from api import job_shapes, reference_tus, shapes
from api.assets import DOCS, PAGE, PAGE_FILE
from api.limits import AUDIT_MOST, LIST_DEFAULT, LIST_MOST, TOKEN_MOST_SECONDS, TOKEN_MOST_UPLOADS, WAIT_MOST_SECONDS
from api.once import MOST_CHARACTERS, PLAIN, QUOTED
from api.reference_parts import TEXT, Answer, Operation, parameter
from engine.models import JOB_STATES

Json = dict[str, Any]


TAGS = {
    "jobs": "Submit files, look at jobs, and command them.",
    "tus": "Uploads that go on after a break: tus 1.0.0.",
    "webhooks": "Who was told of the ends of jobs.",
    "events": "Server-sent events: watch without asking again and again.",
    "destinations": "What is configured, and whether it works.",
    "tokens": "Short-lived tokens: what a web application hands to its page.",
    "service": "The service itself.",
}

COMMON = "bad_request key_in_query host_refused origin_refused expectation_failed unexpected unknown_coding too_large "
COMMON += "unsupported_encoding "
"""What the gate in front of every address may answer."""
WITH_KEY = "unauthorized forbidden quota_exceeded ledger_unavailable unavailable"
_SUBMIT = "stopping truncated bad_checksum too_slow invalid unknown_destination unknown_option "
_SUBMIT += "checksum_mismatch token_used_up spool_full spool_unavailable conflict not_found "
_SUBMIT += "bad_idempotency_key idempotency_busy idempotency_mismatch"
_SOURCE = " bad_json source_missing source_refused source_changed source_gone address_refused"
_COMMAND = "not_found conflict source_gone"

OPTION_TEXTS = {
    "destinations": "Destinations or routes: all of them get the file. Else the default of plugins.toml.",
    "name": "The file's name.",
    "key": "The object's key, byte for byte; the destination's prefix is put before it.",
    "key_template": "Instead of a key: {yyyy} {mm} {dd} {id} {name} {stem} {ext} {sha256} {crc32c} {label.x}.",
    "content_type": "Of the object.",
    "metadata": "The object's own names and values.",
    "content_disposition": "Of the object.",
    "cache_control": "Of the object.",
    "storage_class": "The provider's own word.",
    "acl": "The provider's own word for a canned access list.",
    "encryption": "The provider's own word for encryption at rest.",
    "tags": "The object's tags.",
    "labels": "Labels of the job, to list by.",
    "on_conflict": "What to do when there is an object at the key.",
    "checksum": "The expected one: `sha256:<lower-case hex>` or `crc32c:<base64 of 4 big-endian bytes>`.",
    "priority": "Among the jobs that wait.",
    "webhook": "The URL that is told of the end, by Standard Webhooks.",
    "on_success": "The Dramatiq actor that gets a message when it succeeds, by its name in plugins.toml.",
    "on_failure": "The same for every other end: partially succeeded, failed, cancelled, expired.",
    "retain_seconds": "How long the record of the finished job is kept.",
}


_LIMIT: Json = {"type": "integer", "minimum": 1, "maximum": LIST_MOST, "default": LIST_DEFAULT}
PARAMETERS: dict[str, Json] = {
    "job_id": parameter("job_id", "path", "The job's id.", {"type": "string", "format": "uuid"}),
    "delivery": parameter("delivery", "path", "The delivery's id.", {**TEXT, "minLength": 1}),
    "name": parameter("name", "path", "The destination's or route's name.", {**TEXT, "minLength": 1}),
    "token_id": parameter("token_id", "path", "The token's id.", {**TEXT, "pattern": "^[0-9a-f]{16}$"}),
    "page_file": parameter("file", "path", "Its name.", {"type": "string", "enum": list(PAGE)}),
    "code": parameter("code", "path", "A problem code.", {"$ref": "#/components/schemas/ProblemCode"}),
    "object_destination": parameter("destination", "path", "A destination or route.", {**TEXT, "minLength": 1}),
    "object_key": parameter(
        "key",
        "path",
        "The rest of the address, slashes and all, percent-decoded and nothing else: nothing is normalised.",
        {**TEXT, "minLength": 1},
    ),
    "state": parameter("state", "query", "Only jobs in this state.", {"enum": list(JOB_STATES)}),
    "in_destination": parameter("destination", "query", "Only jobs to this destination.", TEXT),
    "of_destination": parameter("destination", "query", "The transfer, where the job has several.", TEXT),
    "q": parameter("q", "query", "A job's id, or the start of a name.", TEXT),
    "owner": parameter("owner", "query", "The id of an API key; others than one's own are for admins.", {
        "type": "string", "pattern": "^[a-z0-9]{1,32}$"}),
    "labels": {
        "name": "labels", "in": "query", "style": "form", "explode": True,
        "description": "Only jobs with these labels: each is a parameter `label.NAME=VALUE`.",
        "schema": {"type": "object", "patternProperties": {"^label\\..+$": TEXT}, "additionalProperties": False},
    },
    "limit": parameter("limit", "query", "Items of a page.", _LIMIT),
    "cursor": parameter("cursor", "query", "`next_cursor` of the page before.", {
        "type": "string", "pattern": "^[A-Za-z0-9_.~:=-]{1,512}$"}),
    "audit_limit": parameter("limit", "query", "How many lines.", {**_LIMIT, "maximum": AUDIT_MOST}),
    "audit_key": parameter("key", "query", "Only lines of this key.", TEXT),
    "audit_job": parameter("job", "query", "Only lines about this job.", TEXT),
    "if_none_match": parameter("If-None-Match", "header", "An `ETag` that is known already.", TEXT),
    "prefer": parameter("Prefer", "header", f"`wait=N` (RFC 7240): wait so many seconds, {WAIT_MOST_SECONDS} at most, "
        "for the end.", TEXT),
    "content_digest": parameter("Content-Digest", "header", "RFC 9530, sha-256 or sha-512, of the body.", TEXT),
    "repr_digest": parameter("Repr-Digest", "header", "The same: bodies are not encoded here.", TEXT),
    "idempotency_key": parameter("Idempotency-Key", "header", "`\"…\"`: a request that was answered is not done twice, "
        f"but answered again, for a day. Of {MOST_CHARACTERS} characters at most; the quotes may be left out.", {
        **TEXT, "pattern": f"^(?:{QUOTED}|{PLAIN})$", "maxLength": MOST_CHARACTERS}),
    "last_event_id": parameter("Last-Event-ID", "header", "Where the reader left off.", {**TEXT, "maxLength": 128}),
    "last_event_id_query": parameter("last_event_id", "query", "The same, for a first connection.", {
        **TEXT, "maxLength": 128}),
    "request_id": parameter("X-Request-ID", "header", "1 to 128 of `A-Z a-z 0-9 . _ ~ : / + = @ -`: echoed, logged, "
        "and kept with the job. One of another form is replaced by a new one.", TEXT),
    "traceparent": parameter("traceparent", "header", "W3C trace context: logged, kept with the job, sent along with "
        "its parts. One of another form counts as none.", TEXT),
    **reference_tus.PARAMETERS,
}  # fmt: skip

HEADERS: dict[str, tuple[str, Json]] = {
    "X-Request-ID": ("The request's id, as it stands in the log.", TEXT),
    "Location": ("Where what was made is found.", TEXT),
    "Content-Location": ("What the answer shows.", TEXT),
    "Idempotent-Replayed": ("`true`: the first request with this Idempotency-Key was answered so.", TEXT),
    "Retry-After": ("Seconds until it is worth asking again.", {"type": "string", "pattern": "^[0-9]+$"}),
    "Preference-Applied": ("The wait that was applied.", TEXT),
    "ETag": ("Changes whenever the answer does.", TEXT),
    "Link": ('The next page: `rel="next"`.', TEXT),
    **reference_tus.HEADERS,
}

TOKEN_WISH: Json = {
    "description": "What the token is for: uploads (all but `job`), or looking at one job.",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "job": {"description": "The one job that the token looks at.", "type": ["string", "null"], "format": "uuid"},
        "destinations": {
            "description": "Where it may upload to.",
            "anyOf": [{"type": "array", "items": TEXT, "minItems": 1}, TEXT, {"type": "null"}],
        },
        "prefix": {"description": "The folder below which every key has to be.", "type": ["string", "null"]},
        "max_size": {"description": "Bytes of one file.", "type": ["integer", "null"], "minimum": 1},
        "uploads": {"type": ["integer", "null"], "minimum": 1, "maximum": TOKEN_MOST_UPLOADS},
        "webhook": {"description": "Who is told of the end of each upload.", "type": ["string", "null"]},
        "ttl_seconds": {"type": ["integer", "null"], "minimum": 1, "maximum": TOKEN_MOST_SECONDS},
    },
}

MORE_DESTINATIONS: Json = {
    "type": "object",
    "additionalProperties": False,
    "required": ["destinations"],
    "properties": {
        "destinations": {
            "description": "Destinations or routes. Where the job goes already, nothing changes.",
            "anyOf": [{"type": "array", "items": {**TEXT, "minLength": 1}, "minItems": 1}, {**TEXT, "minLength": 1}],
        },
    },
}

_JOB_HEADERS = ("Location", "Content-Location", "Preference-Applied", "Idempotent-Replayed")
_SUBMITTED = {
    200: Answer("After `Prefer: wait`: it is done by now.", job_shapes.JobView, _JOB_HEADERS),
    202: Answer("Bytes and job are durable.", job_shapes.JobView, (*_JOB_HEADERS, "Retry-After")),
}
_ONE_OR_SEVERAL = (job_shapes.JobView, job_shapes.SeveralJobs)
_COMMANDED = {
    200: Answer("It is so already.", job_shapes.JobView),
    202: Answer("It will take effect.", job_shapes.JobView),
}
_STREAM = Answer("The stream.", job_shapes.EventFrame, (), "text/event-stream")
_EVENTS = (
    "`event` is one of `snapshot progress transfer state end`, `data` one line of JSON: the whole job for "
    "`snapshot` and `end`, else `{id, state, received, sent, transfers}`. A comment comes every 15 s."
)
_ALL_EVENTS = _EVENTS + (
    " There is no `snapshot` here: behind an id that was trimmed away come all events that are kept, behind an unknown "
    "one those to come. `GET /v1/jobs` has the rest."
)

OPERATIONS = [
    Operation("jobs", "post", "/v1/jobs", "Submit files or a source", {
        status: answer._replace(shape=_ONE_OR_SEVERAL) for status, answer in _SUBMITTED.items()},
        "A form is answered with `{\"jobs\": […]}`, everything else with the job. Options may be given as query "
        "parameters, headers, form fields or JSON members, each in one place.",
        ("prefer", "idempotency_key", "content_digest", "repr_digest", "options"), "submit",
        _SUBMIT + _SOURCE + " bad_form field_too_large unsupported_media_type"),
    Operation("jobs", "put", "/v1/objects/{destination}/{key}", "Send one file to a key", _SUBMITTED,
        "`curl -T FILE URL`: any content type, JSON files included.",
        ("object_destination", "object_key", "prefer", "idempotency_key", "content_digest", "repr_digest", "options"),
        "file",
        _SUBMIT.replace("unknown_destination", "404:unknown_destination 422:unknown_destination 404:no_resource")),
    Operation("jobs", "get", "/v1/jobs", "List jobs", {200: Answer("A page.", job_shapes.JobPage, ("Link",))},
        parameters=("state", "in_destination", "labels", "q", "limit", "cursor", "owner"),
        refused="invalid unknown_option bad_cursor", head=True),
    Operation("jobs", "get", "/v1/jobs/{job_id}", "Look at a job", {
        200: Answer("The job.", job_shapes.JobView, ("ETag", "Retry-After")),
        304: Answer("It is as you know it.", None, ("ETag", "Retry-After"))},
        parameters=("job_id", "if_none_match"), refused="not_found", head=True),
    Operation("jobs", "delete", "/v1/jobs/{job_id}", "Forget a finished job", {204: Answer("It is forgotten.")},
        parameters=("job_id",), refused="not_found conflict"),
    Operation("jobs", "get", "/v1/jobs/{job_id}/parts", "Look at the parts of a transfer", {
        200: Answer("All parts, and the latest failed attempts.", job_shapes.PartList)},
        parameters=("job_id", "of_destination"), refused="not_found unknown_option invalid", head=True),
    *(Operation("jobs", "post", f"/v1/jobs/{{job_id}}/{verb}", title, _COMMANDED, about, ("job_id",), refused=_COMMAND)
      for verb, title, about in (
        ("cancel", "Cancel a job", "What was sent is removed where the store allows it."),
        ("pause", "Pause a job", "Parts that are on their way arrive."),
        ("resume", "Resume a paused job", ""),
        ("retry", "Retry a failed job", "Starts the next run: only what is missing is sent."))),
    Operation("jobs", "post", "/v1/jobs/{job_id}/destinations", "Add destinations to a job", {
        200: Answer("It goes there already; or after `Prefer: wait`: it is done by now.", job_shapes.JobView,
            ("Location", "Content-Location", "Preference-Applied")),
        202: Answer("It will go there, too.", job_shapes.JobView,
            ("Location", "Content-Location", "Preference-Applied", "Retry-After"))},
        "Under the same key and with all that was said when it was submitted, as long as its source is there. To a job "
        "that is over it is added as its next run, in which nothing else is done.",
        ("job_id", "prefer", "content_digest", "repr_digest"), "destinations",
        "bad_json invalid unknown_option unknown_destination unsupported_media_type truncated too_slow bad_checksum "
        "checksum_mismatch not_found conflict source_gone source_changed wrong_node spool_full spool_unavailable"),
    Operation("webhooks", "get", "/v1/jobs/{job_id}/webhooks", "Who was told of a job's ends", {
        200: Answer("All deliveries.", job_shapes.DeliveryList)}, parameters=("job_id",), refused="not_found",
        head=True),
    Operation("webhooks", "post", "/v1/jobs/{job_id}/webhooks/{delivery}/replay", "Tell it once more", {
        202: Answer("It will be, with the same id.", job_shapes.DeliveryView)}, parameters=("job_id", "delivery"),
        refused="not_found"),
    *reference_tus.OPERATIONS,
    Operation("events", "get", "/v1/jobs/{job_id}/events", "Watch one job", {
        200: _STREAM, 204: Answer("Nothing comes after this id: the job is over.")}, _EVENTS,
        ("job_id", "last_event_id", "last_event_id_query"), refused="not_found bad_cursor unknown_option"),
    Operation("events", "get", "/v1/events", "Watch all jobs that one may see", {200: _STREAM},
        _ALL_EVENTS, ("last_event_id", "last_event_id_query"), refused="bad_cursor unknown_option"),
    Operation("destinations", "get", "/v1/destinations", "List destinations and routes", {
        200: Answer("All that one may write to.", shapes.DestinationList)}, head=True),
    Operation("destinations", "get", "/v1/destinations/{name}", "Look at a destination", {
        200: Answer("With the result of its last check.", shapes.DestinationView)},
        parameters=("name",), refused="404:unknown_destination", head=True),
    Operation("destinations", "post", "/v1/destinations/{name}/check", "Check a destination", {
        200: Answer("What came of it.", shapes.CheckedDestination)},
        "A worker writes, reads and deletes an object there.", ("name",),
        refused="404:unknown_destination invalid check_timeout"),
    Operation("tokens", "post", "/v1/tokens", "Make a short-lived token", {
        201: Answer("The token; its text is shown this once.", shapes.TokenView, ("Location",))}, body="token",
        refused="bad_json invalid unknown_option unknown_destination not_found unsupported_media_type truncated "
        "too_slow bad_checksum checksum_mismatch", parameters=("content_digest", "repr_digest")),
    Operation("tokens", "delete", "/v1/tokens/{token_id}", "End a token", {204: Answer("It has ended.")},
        parameters=("token_id",), refused="no_resource"),
    Operation("service", "get", "/v1/stats", "The system in numbers", {200: Answer("Now.", shapes.StatsView)},
        head=True),
    Operation("service", "get", "/metrics", "The system in numbers, for Prometheus", {
        200: Answer("Prometheus' text format 0.0.4.", str, (), "text/plain")},
        "Also while Redis is away: `bucketline_redis_up` is 0 then, and much else is missing.", head=True),
    Operation("service", "get", "/v1/audit", "Who did what", {200: Answer("The newest first.", shapes.AuditPage)},
        parameters=("audit_limit", "audit_key", "audit_job"), refused="invalid unknown_option", head=True),
    Operation("service", "get", "/livez", "Whether the process answers", {
        200: Answer("It does.", shapes.AliveView)}, head=True),
    Operation("service", "get", "/readyz", "Whether new work can be taken", {
        200: Answer("Yes.", shapes.ReadyView),
        503: Answer("No, and why.", shapes.ReadyView, ("Retry-After",))}, head=True),
    Operation("service", "get", "/openapi.json", "This document", {
        200: Answer("OpenAPI 3.1.", dict[str, Any], ("ETag",)), 304: Answer("It is as you know it.", None, ("ETag",))},
        parameters=("if_none_match",), head=True),
    *(Operation("service", "get", path, f"This reference for people: {name}", {
        200: Answer("The file.", str, ("ETag",), media.partition(";")[0]),
        304: Answer("It is as you know it.", None, ("ETag",))},
        parameters=("if_none_match",), head=True) for path, (name, media) in DOCS.items()),
    Operation("service", "get", "/problems/{code}", "What a problem code means", {
        200: Answer("Its constant members.", shapes.ProblemKind)}, parameters=("code",), refused="no_resource",
        head=True),
    Operation("service", "get", PAGE_FILE, "A file of the page at `/`", {
        200: Answer("The file.", str, ("ETag",), "text/*"), 304: Answer("It is as you know it.", None, ("ETag",))},
        parameters=("page_file", "if_none_match"), refused="no_resource", head=True),
    Operation("service", "get", "/", "Where to begin; the page for people, if the request accepts `text/html`", {
        200: Answer("Addresses.", shapes.IndexView)}, head=True),
]  # fmt: skip
