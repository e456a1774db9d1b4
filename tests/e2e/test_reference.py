"""The reference is true: an API process, a worker and a Valkey are asked by what schemathesis makes of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, assume, given, settings
from schemathesis import GenerationMode, openapi, serializer
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from api import description
from api.doorman import OPEN_PATHS
from tests.e2e.stack import Stack

Json = dict[str, Any]

serializer.alias("application/offset+octet-stream", "application/octet-stream")

EXAMPLES = 16
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    ignored_auth,
    unsupported_method,
    allow_header_conformance,
]
TUS_CHECKS = [check for check in CHECKS if check is not negative_data_rejection]
"""tus wants 412 for its version, which that check does not count as a refusal, and headers that are read leniently.
What it refuses is looked at in test_tus.py.
"""
PLUGINS = """default = "media"

[destinations.media]
backend = "local"
root    = "objects"

[destinations.second]
backend = "local"
root    = "second"

[routes.everywhere]
mirror = ["media", "second"]
"""
KEY = "the-key-of-these-tests"
LONGEST_LINE = 4000
"""What is longer, the server's parser refuses (414), with no word from the API."""
ENDLESS = ("/v1/events",)
"""A stream without an end; its answers are looked at in tests/api/test_events.py."""


def operations() -> list[Any]:
    """All, and last those that take away what the others look at."""
    document = description.document()
    found = [
        pytest.param(path, method, mode, id=f"{method.upper()} {path} {mode.value}")
        for path, item in document["paths"].items()
        for method in item
        if method not in ("parameters", "options") and path not in ENDLESS  # OPTIONS of tus takes nothing
        for mode in GenerationMode
        if mode is GenerationMode.POSITIVE or path not in OPEN_PATHS  # there, nothing can be wrong
    ]
    return sorted(found, key=lambda one: "delete" in one.values)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with ExitStack() as ending:
        yield ending.enter_context(Stack(PLUGINS, BUCKETLINE_API_KEY=KEY)).start()


@pytest.fixture(scope="module")
def schema(stack: Stack) -> Any:
    """The reference, stricter: answers have no member that is not described; and with names of things that exist."""
    stack.talk.http.headers["Authorization"] = f"Bearer {KEY}"
    document = copy.deepcopy(stack.talk.http.get("/openapi.json").json())
    jobs = [stack.talk.submit(b"x" * 100, key=f"known/{number}")["id"] for number in range(4)]
    for job in jobs[:3]:
        stack.talk.until(job, "succeeded")
    token = stack.talk.http.post("/v1/tokens", json={"job": jobs[0]}).json()["id"]
    tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "1000"}
    uploads = [stack.talk.http.post("/v1/tus", headers=tus).headers["Bucketline-Job"] for _ in range(3)]
    known = {"job_id": [*jobs, jobs[0].upper(), "none"], "token_id": [token, "0" * 16], "upload_id": [*uploads, "none"]}
    for name in ("name", "object_destination"):
        known[name] = ["media", "second", "everywhere", "elsewhere", "a b", "ä"]
    for name, values in known.items():
        document["components"]["parameters"][name]["schema"] = {"enum": values}
    for where in ("query", "header"):
        document["components"]["parameters"][f"{where}_destinations"]["schema"]["items"] = {"enum": known["name"][:3]}
    document["paths"]["/v1/jobs/{job_id}/events"]["get"]["security"].pop()  # what is drawn for it is no token
    for shape in document["components"]["schemas"].values():
        if shape.get("type") == "object":
            shape.setdefault("additionalProperties", False)
    return openapi.from_dict(document)


def _address(case: Any, stack: Stack) -> dict[str, Any]:
    sent = case.as_transport_kwargs(base_url=stack.talk.url)
    return {name: sent.get(name) for name in ("method", "url", "params")}


@pytest.mark.slow
@pytest.mark.parametrize(("path", "method", "mode"), operations())
def test_it_is_as_described(schema: Any, stack: Stack, path: str, method: str, mode: GenerationMode) -> None:
    strategy = schema[path][method.upper()].as_strategy(generation_mode=mode)
    session = requests.Session()
    session.trust_env = False
    asked: list[Any] = []

    @settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=strategy)
    def ask(case: Any) -> None:
        assume(len(requests.Request(**_address(case, stack)).prepare().path_url) < LONGEST_LINE)
        asked.append(case)
        case.call_and_validate(
            base_url=stack.talk.url,
            session=session,
            headers={"Authorization": f"Bearer {KEY}"},
            checks=TUS_CHECKS if path.startswith("/v1/tus") else CHECKS,
            timeout=20,
        )

    ask()
    assert asked
