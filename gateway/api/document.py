"""The OpenAPI 3.1 document, made of the table of routes and the models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from gateway import __version__
from gateway.api.problem import CONTENT_TYPE
from gateway.api.route import Route

_REF: Final = "#/components/schemas/{model}"
_JSON: Final = "application/json"
_PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
_ALWAYS: Final = {
    "401": "No account is known by this token.",
    "403": "The account's role does not allow this, or the network is not known.",
    "429": "Too many requests; try again after Retry-After seconds.",
    "503": "Something is away for a while; try again after Retry-After seconds.",
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The description of what the routes take and give."""
    schemas, names = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, names)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Suppression gateway",
            "version": __version__,
            "description": "Bans, consents, decisions and their records.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Problem": _PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


Names = dict[tuple[Any, JsonSchemaMode], dict[str, Any]]


def _schemas(routes: Sequence[Route]) -> tuple[dict[str, Any], Names]:
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = []
    for route in routes:
        models += [(model, "validation") for model in (route.body, route.query) if model]
        models += [(route.answer, "serialization")] if route.answer else []
    refs, made = models_json_schema(list(dict.fromkeys(models)), ref_template=_REF)
    return made.get("$defs", {}), dict(refs)


def _operation(route: Route, names: Names) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Done."}
    if route.answer is not None:
        answer["content"] = {_JSON: {"schema": names[route.answer, "serialization"]}}
    if route.produces:
        answer["content"] = {kind: {"schema": {}} for kind in route.produces}
    responses = {str(route.status.value): answer}
    responses["422"] = _refused("The request is wrong; errors say where.")
    if route.body is not None:
        responses["400"] = _refused("The body is no JSON.")
        responses["413"] = _refused("The body is too large.")
        responses["415"] = _refused("The body is of a type that is not taken.")
    if route.may_miss:
        responses["404"] = _refused("There is no such thing.")
    if route.may_conflict:
        responses["409"] = _refused("Something stands against it; errors say what.")
    for status, description in _ALWAYS.items():
        responses[status] = _refused(description)
    operation: dict[str, Any] = {
        "operationId": "-".join([route.method.lower(), *_words(route.path)]),
        "summary": route.summary,
        "tags": [route.tag],
        "responses": responses,
        "parameters": [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9:._-]{1,64}$"},
            }
            for name in route.places
        ]
        + _query(route)
        + [
            {
                "name": "Gateway-Reason",
                "in": "header",
                "description": "Why; it is recorded with what is read or changed.",
                "schema": {"type": "string", "maxLength": 500, "pattern": "^[ -~]*$"},
            }
        ],
    }
    if route.body is not None:
        schema = names[route.body, "validation"]
        content: dict[str, dict[str, Any]] = {_JSON: {"schema": schema}}
        content |= {kind: {} for kind in route.takes}  # octets: no schema tells them
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _query(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = route.query.model_json_schema(ref_template=_REF)
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _plain(of)}
        for name, of in schema["properties"].items()
    ]


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A query's member: what is not there is left out, never null."""
    choices = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if len(choices) == 1:
        rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
        return {**rest, **choices[0]}
    return schema


def _refused(description: str) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model="Problem")}
    return {"description": description, "content": {CONTENT_TYPE: {"schema": schema}}}


def _words(path: str) -> list[str]:
    return [part.strip("{}") for part in path.split("/")[2:]]
