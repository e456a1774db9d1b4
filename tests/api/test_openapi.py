"""The reference says what the router does, and names what can be refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import falcon.inspect
from openapi_spec_validator import OpenAPIV31SpecValidator

from api import description, reference
from api.app import create_app
from api.options import TABLE
from api.problems import TABLE as PROBLEMS
from tests.api.asking import Asker
from tests.api.fakes import FakeService

METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
ELSEWHERE = {"poison", "worker_lost", "source_corrupt", "destination_changed", "object_exists"}
"""Errors of jobs."""


def described() -> set[tuple[str, str]]:
    paths = description.document()["paths"]
    return {(path, method) for path, item in paths.items() for method in item if method in METHODS}


def routed() -> set[tuple[str, str]]:
    app = create_app(FakeService())
    found = {
        (route.path, method.method.lower())
        for route in falcon.inspect.inspect_routes(app)
        for method in route.methods
        if not method.internal
    }
    assert [sink.prefix for sink in falcon.inspect.inspect_sinks(app)] == ["/v1/objects/"]
    return found | {("/v1/objects/{destination}/{key}", "put")}


def test_every_route_is_described_and_nothing_else() -> None:
    assert described() == routed()


def test_the_document_is_openapi() -> None:
    OpenAPIV31SpecValidator(description.document()).validate()


def test_every_operation_has_a_name_of_its_own() -> None:
    paths = description.document()["paths"].values()
    names = [item[method]["operationId"] for item in paths for method in item if method in METHODS]

    assert len(names) == len(set(names))


def test_every_problem_code_is_documented() -> None:
    found = description.document()
    responses = found["components"]["responses"]
    answered = {code for item in found["paths"].values() for code in codes_of(item, responses)}

    assert found["components"]["schemas"]["ProblemCode"]["enum"] == list(PROBLEMS)
    assert set(PROBLEMS) - answered == ELSEWHERE
    assert answered <= set(PROBLEMS)


def codes_of(item: dict[str, Any], shared: dict[str, Any]) -> set[str]:
    schemas = [
        content["schema"]["allOf"][1]
        for method in item
        if method in METHODS
        for told in item[method]["responses"].values()
        for answer in [shared[told["$ref"].rpartition("/")[2]] if "$ref" in told else told]
        for kind, content in answer.get("content", {}).items()
        if kind == "application/problem+json"
    ]
    return {code for schema in schemas for code in schema["properties"]["code"]["enum"]}


def test_every_option_is_there_in_every_form() -> None:
    components = description.document()["components"]

    assert set(reference.OPTION_TEXTS) == set(TABLE)
    for name in TABLE:
        header = "-".join(["bucketline", *name.split("_")])
        assert components["parameters"][f"query_{name}"]["name"] == name
        assert components["parameters"][f"header_{name}"]["name"].lower() == header
        assert name in components["schemas"]["Form"]["properties"]
        assert name in components["schemas"]["SourceSubmission"]["properties"]


async def test_it_is_served_and_known_by_its_tag(ask: Asker) -> None:
    first = await ask("GET", "/openapi.json")
    again = await ask("GET", "/openapi.json", headers={"If-None-Match": first.headers["etag"]})

    assert first.json()["openapi"].startswith("3.1")
    assert first.headers["content-type"] == "application/json"
    assert (again.status, again.body) == (304, b"")


def test_who_is_not_asked_for_it_carries_none_of_it() -> None:
    names = ("api.description", "api.shapes", "api.job_shapes")
    program = f"import sys, api.asgi; print([name for name in {names} if name in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert answer.stdout.strip() == "[]"
