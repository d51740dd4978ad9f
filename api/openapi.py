"""What FastAPI cannot know for the OpenAPI document: problems, preconditions, tokens."""

from typing import Any

from api.problems import KINDS, MEDIA_TYPE, PREFIX

PROBLEM: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457. The types are listed in docs/api.md.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "enum": [PREFIX + kind for kind in KINDS]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "guard_rails": {
            "type": "array",
            "description": "Of guard-rail: why it is refused.",
            "items": {
                "type": "object",
                "required": ["rule", "path", "detail", "fix"],
                "properties": {name: {"type": "string"} for name in ("rule", "path", "detail", "fix")},
            },
        },
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail", "in"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON Pointer, RFC 6901."},
                    "detail": {"type": "string"},
                    "in": {"type": "string", "enum": ["body", "query", "path", "header"]},
                },
            },
        },
    },
    "example": {
        "type": PREFIX + "invalid",
        "title": KINDS["invalid"].title,
        "status": 422,
        "detail": "/backends/0/address: '10.0.0' is not an IPv4 or IPv6 address",
        "errors": [
            {
                "pointer": "/backends/0/address",
                "detail": "'10.0.0' is not an IPv4 or IPv6 address",
                "in": "body",
            }
        ],
    },
}

ANSWER = {
    "description": "A problem.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def header(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string"},
    }


IF_MATCH = header("If-Match", 'The ETag that you have read, "12", or *. Missing: 428; stale: 412.')
IF_NONE_MATCH = header("If-None-Match", "* to create. It exists: 412.")


def complete(document: dict[str, Any], needs_token: bool) -> None:
    """Add to FastAPI's document, in place, what only this API has."""
    schemas = document["components"]["schemas"]
    schemas["Problem"] = PROBLEM
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            describe(operation, path, method)
    if needs_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]


def describe(operation: dict[str, Any], path: str, method: str) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    responses["default"] = ANSWER
    if path == "/healthz":
        operation["security"] = []
    if method in ("put", "delete"):
        operation.setdefault("parameters", []).append(IF_MATCH)
    if method == "put":
        operation["parameters"].append(IF_NONE_MATCH)
        responses["201"] = {**responses["200"], "description": "Created."}
    if method == "put" or (method == "get" and path.startswith("/v1/") and path.endswith("}")):
        tag = {"description": "Of the spec: status does not change it.", "schema": {"type": "string"}}
        for status in ("200", "201"):
            if status in responses and "director" not in path:
                responses[status]["headers"] = {"ETag": tag}
