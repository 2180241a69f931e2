"""The wire protocol as an AsyncAPI 3 document, made from the models, the close codes and the event vocabulary."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, get_args

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from app.protocol.close import CloseCode
from app.protocol.events import FIELDS
from app.protocol.frames import MAX_OUT_BYTES, SUBPROTOCOL, ServerFrame, Wire
from app.protocol.inputs import Durable, Hello, Ping

_REF = "#/components/schemas/{model}"
_CLIENT: tuple[type[Wire], ...] = (Hello, *get_args(get_args(Durable)[0]), Ping)
_SERVER: tuple[type[Wire], ...] = get_args(get_args(ServerFrame)[0])
_DESCRIPTION = f"""\
Conversations with agents over one WebSocket, as text frames of one JSON object each. A frame of the server has at most
{MAX_OUT_BYTES} bytes, and `welcome` says how large one of a client may be. Members that a side does not know are
ignored, and a member that is null is the same as one that is absent."""


def document(address: str = "/ws") -> dict[str, Any]:
    """The document of a server whose endpoint is at `address`: JSON, by AsyncAPI 3.0.0."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Parley", "version": "1", "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {"parley": _server()},
        "channels": {"session": _channel(address)},
        "operations": {
            "fromClient": _operation("receive", "What a client sends.", _CLIENT),
            "toClient": _operation("send", "What a server sends.", _SERVER),
        },
        "components": {
            "messages": {_type(model): _message(model) for model in (*_CLIENT, *_SERVER)},
            "schemas": _schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "Or in `hello`."}
            },
        },
    }


def _server() -> dict[str, Any]:
    return {
        "host": "{host}",
        "protocol": "ws",
        "description": "This server; `wss` behind a proxy that ends TLS.",
        "variables": {"host": {"default": "127.0.0.1:8000"}},
        "security": [{"$ref": "#/components/securitySchemes/bearer"}],
    }


def _channel(address: str) -> dict[str, Any]:
    return {
        "address": address,
        "title": "A connection",
        "description": "`hello` comes first. The server closes with one of the codes in `x-close-codes`.",
        "messages": {_type(model): _ref("messages", _type(model)) for model in (*_CLIENT, *_SERVER)},
        "bindings": {"ws": {"method": "GET", "headers": _handshake(), "bindingVersion": "0.1.0"}},
        "x-close-codes": [
            {"code": int(code), "reason": code.reason, "reconnect": code.reconnect} for code in CloseCode
        ],
    }


def _handshake() -> dict[str, Any]:
    offered = {
        "type": "string",
        "description": f"Absent, or a list with {SUBPROTOCOL} in it.",
        "examples": [SUBPROTOCOL],
    }
    bearer = {"type": "string", "description": "`Bearer …`, where a sign-in is needed."}
    return {"type": "object", "properties": {"Sec-WebSocket-Protocol": offered, "Authorization": bearer}}


def _operation(action: str, title: str, models: Iterable[type[Wire]]) -> dict[str, Any]:
    messages = [{"$ref": f"#/channels/session/messages/{_type(model)}"} for model in models]
    return {"action": action, "title": title, "channel": {"$ref": "#/channels/session"}, "messages": messages}


def _message(model: type[Wire]) -> dict[str, Any]:
    return {"name": _type(model), "summary": inspect.getdoc(model), "payload": _ref("schemas", model.__name__)}


def _schemas() -> dict[str, Any]:
    _, generated = models_json_schema(
        [(model, "validation") for model in (*_CLIENT, *_SERVER)], ref_template=_REF, schema_generator=_Schemas
    )
    schemas: dict[str, Any] = generated["$defs"]
    schemas["Events"]["properties"]["events"]["items"] = _ref("schemas", "Event")
    return schemas | {
        "Event": {
            "description": "An AG-UI 1.0 event. There may be others one day: a client ignores those it does not know.",
            "anyOf": [_ref("schemas", kind) for kind in FIELDS],
        },
        **{kind: _event(kind, members) for kind, members in FIELDS.items()},
    }


def _event(kind: str, members: Iterable[str]) -> dict[str, Any]:
    """An event's schema: its members by name, of which AG-UI says the rest."""
    properties: dict[str, Any] = {name: {} for name in sorted(members)}
    return {"type": "object", "properties": {**properties, "type": {"const": kind}}, "required": ["type"]}


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def _type(model: type[Wire]) -> str:
    """The `type` on the wire."""
    return str(model.model_fields["type"].default)


class _Schemas(GenerateJsonSchema):
    """Without what AsyncAPI has another meaning for, and without titles that only repeat a name."""

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        made = super().tagged_union_schema(schema)
        made.pop("discriminator", None)
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # pydantic calls it so
        return False
