"""Example bodies of the OpenAPI document. A test sends every one of them to the API."""

from typing import Any

BACKEND: dict[str, Any] = {"name": "web1", "address": "10.0.0.11", "state": "active"}

POOL: dict[str, Any] = {
    "name": "web",
    "backends": [{"name": "web1", "address": "10.0.0.11"}, {"name": "web2", "address": "10.0.0.12"}],
    "health_check": {
        "type": "http",
        "port": 80,
        "path": "/healthz",
        "interval_ms": 2000,
        "timeout_ms": 1000,
        "rise": 2,
        "fall": 3,
    },
}

SERVICE: dict[str, Any] = {
    "name": "www",
    "vips": ["203.0.113.10", "2001:db8::10"],
    "protocol": "tcp",
    "ports": [80, 443, "8000-8099"],
    "pool": "web",
    "table_size": 65536,
    "hops": 2,
    "hash_fields": ["src_addr"],
}

DOCUMENT: dict[str, Any] = {"pools": [POOL], "services": [SERVICE]}


def body(model: str, example: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an operation that describes a JSON body of ``model``."""
    json = {"schema": {"$ref": f"#/components/schemas/{model}"}, "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": json}}}
