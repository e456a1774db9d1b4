"""The reference as one document: OpenAPI 3.1, made from the tables of operations, options and problems."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import msgspec

from api import reference, requests_described, shapes
from api.access import scope_of, takes_query_token
from api.assets import PAGE_FILE
from api.doorman import OPEN_PATHS
from api.problems import CONTENT_TYPE, title_of
from api.problems import TABLE as PROBLEMS
from api.requests_described import SHAPES

Json = dict[str, Any]

_ABOUT = """Send a file over HTTP, get a job at once, and watch workers carry it to one or many buckets, part by part.

Every error is a problem document (RFC 9457); its `code` is explained at `/problems/{code}`.
What is no HTTP at all is answered by a bare 400, and a method that is not described by `method_not_allowed`. Without an
API key only programs of the same machine are served, and these need none."""

_EVERYWHERE = [{"$ref": f"#/components/parameters/{name}"} for name in ("request_id", "traceparent")]


def document() -> Json:
    """The whole reference."""
    schemas = _Schemas()
    paths: Json = {}
    for one in reference.OPERATIONS:
        item = paths.setdefault(one.path, {"parameters": _EVERYWHERE})
        found = _Operation(one, schemas).described()
        item[one.method] = _without_content(found) if one.method == "head" else found
        if one.head:
            item["head"] = _headed(item["get"])
    responses = _shared(paths)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Bucketline",
            "version": version("bucketline"),
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in reference.TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas.components(),
            "responses": responses,
            "parameters": reference.PARAMETERS | requests_described.parameters(),
            "headers": {
                name: {"description": text, "schema": schema} for name, (text, schema) in reference.HEADERS.items()
            },
            "securitySchemes": _SECURITY,
        },
    }


_SECURITY: Json = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "`Authorization: Bearer KEY`. Beside each address stands the scope that the key has to have.",
    },
    "access_token": {
        "type": "apiKey",
        "in": "query",
        "name": "access_token",
        "description": "A short-lived token, where a browser's EventSource can send no header; never a key.",
    },
}


class _Schemas:
    """The schemas of answers, made from their types."""

    def __init__(self) -> None:
        answers = [answer.shape for one in reference.OPERATIONS for answer in one.answers.values()]
        self._types = [shapes.ProblemDocument, *(kind for shape in answers for kind in _types(shape))]
        made, self._components = msgspec.json.schema_components(self._types, ref_template=SHAPES + "{name}")
        self._made = list(made)

    def of(self, shape: Any) -> Json:
        found = [self._made[self._types.index(kind)] for kind in _types(shape)]
        return found[0] if len(found) == 1 else {"anyOf": found}

    def components(self) -> Json:
        codes = "\n".join(f"- `{code}` ({kind.status}): {title_of(code)}" for code, kind in PROBLEMS.items())
        return dict(self._components) | {
            "ProblemCode": {"description": codes, "enum": list(PROBLEMS)},
            "SourceSubmission": requests_described.submission(),
            "Form": requests_described.form(),
            "TokenWish": reference.TOKEN_WISH,
            "MoreDestinations": reference.MORE_DESTINATIONS,
        }


class _Operation:
    """One operation as OpenAPI says it."""

    def __init__(self, one: Any, schemas: _Schemas) -> None:
        self._one = one
        self._schemas = schemas
        self._open = one.path in {*OPEN_PATHS, PAGE_FILE, "/problems/{code}"} or one.method == "options"

    def described(self) -> Json:
        one = self._one
        scope = "" if self._open else scope_of(one.method.upper(), one.path)
        needs = f"Needs the scope `{scope}`." if scope else ""
        found: Json = {
            "tags": [one.tag],
            "operationId": _operation_id(one),
            "summary": one.title,
            "description": "\n\n".join(text for text in (one.about, needs) if text),
            "parameters": self._parameters(),
            "responses": self._responses(),
            "security": self._security(scope),
        }
        if one.body:
            found["requestBody"] = requests_described.body(one.body)
        return {name: value for name, value in found.items() if value or name == "security"}

    def _security(self, scope: str) -> list[Json]:
        if self._open:
            return []
        ways: list[Json] = [{"bearer": [scope] if scope else []}]
        if takes_query_token(self._one.method.upper(), self._one.path):
            ways.append({"access_token": []})
        return ways

    def _parameters(self) -> list[Json]:
        from api import requests_described

        names = [name for name in self._one.parameters if name != "options"]
        if "options" in self._one.parameters:
            names += [name for name in requests_described.parameters() if self._gives(name)]
        return [{"$ref": f"#/components/parameters/{name}"} for name in names]

    def _gives(self, name: str) -> bool:
        """Whether the option may be given: not where the address says it already."""
        said = ("destinations", "key") if "object_key" in self._one.parameters else ()
        return name.partition("_")[2] not in said

    def _responses(self) -> Json:
        answers = {str(status): self._answered(answer) for status, answer in self._one.answers.items()}
        for status, codes in sorted(self._refused().items()):
            answers[status] = _merged(answers.get(status), self._problem(codes))
        return answers

    def _answered(self, answer: Any) -> Json:
        found: Json = {"description": answer.about, "headers": _headers("X-Request-ID", *answer.headers)}
        if answer.shape is not None:
            found["content"] = {answer.media: {"schema": self._schemas.of(answer.shape)}}
        return found

    def _refused(self) -> dict[str, list[str]]:
        words = reference.COMMON + ("" if self._open else reference.WITH_KEY + " ") + self._one.refused
        found: dict[str, list[str]] = {}
        for word in dict.fromkeys(words.split()):
            status, _, code = word.rpartition(":")
            found.setdefault(status or str(PROBLEMS[code].status), []).append(code)
        return found

    def _problem(self, codes: list[str]) -> Json:
        names = "\n".join(f"- `{code}`: {title_of(code)}" for code in codes)
        waits = any(PROBLEMS[code].retry_after for code in codes)
        only = {"properties": {"code": {"enum": codes}}}
        return {
            "description": names,
            "headers": _headers("X-Request-ID", *(["Retry-After"] if waits else [])),
            "content": {CONTENT_TYPE: {"schema": {"allOf": [{"$ref": f"{SHAPES}ProblemDocument"}, only]}}},
        }


def _types(shape: Any) -> tuple[Any, ...]:
    """The types of an answer."""
    if shape is None:
        return ()
    return shape if isinstance(shape, tuple) else (shape,)


def _merged(answer: Json | None, problem: Json) -> Json:
    """A status that is both: `/readyz` says 503 in its own shape."""
    if answer is None:
        return problem
    both = {part: {**problem[part], **answer[part]} for part in ("headers", "content")}
    return {"description": f"{answer['description']}\n\n{problem['description']}", **both}


def _shared(paths: Json) -> Json:
    """Answers that stand at several operations, each only once; the operations then point there."""
    users: dict[tuple[str, bytes], list[Json]] = {}
    operations = [one for item in paths.values() for method, one in item.items() if method != "parameters"]
    for responses in (one["responses"] for one in operations):
        for status, answer in responses.items():
            users.setdefault((status, msgspec.json.encode(answer)), []).append(responses)
    shared: Json = {}
    for (status, _), found in users.items():
        if len(found) > 1:
            name = f"Status{status}." + str(sum(known.startswith(f"Status{status}.") for known in shared) + 1)
            shared[name] = found[0][status]
            for responses in found:
                responses[status] = {"$ref": f"#/components/responses/{name}"}
    return shared


def _headed(get: Json) -> Json:
    """HEAD: the same, with no content."""
    return _without_content(get) | {"operationId": f"{get['operationId']}Head"}


def _without_content(operation: Json) -> Json:
    responses = {
        status: {name: value for name, value in answer.items() if name != "content"}
        for status, answer in operation["responses"].items()
    }
    return operation | {"responses": responses}


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _operation_id(one: Any) -> str:
    words = [word for word in str(one.path).replace(".", "/").split("/") if word and word != "v1"]
    return str(one.method) + "".join("By" + _camel(w[1:-1]) if w[0] == "{" else _camel(w) for w in words)


def _camel(word: str) -> str:
    return "".join(piece.capitalize() for piece in word.split("_"))
