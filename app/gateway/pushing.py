"""A push on its way in: who may, how large it is, and the input that becomes of it."""

from __future__ import annotations

import secrets
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from app.gateway.auth import Authenticator, AuthError, bearer
from app.gateway.intake import FULL, RETRY_AFTER_MS
from app.gateway.refusals import Refusal
from app.protocol import codec
from app.protocol.pushes import Push
from app.settings import Settings
from app.store.base import NewInput, Refused

MAX_KEY = 255
"""Characters of an `Idempotency-Key`."""

ID_BYTES = 12
"""Random bytes of the id of a turn or a message."""


def pusher(authenticator: Authenticator, settings: Settings, authorization: str | None) -> str | None:
    """The user who pushes, into whose sessions only it may go; None with the push key, into anybody's.

    Raises: AuthError.
    """
    token, key = bearer(authorization), settings.push_key
    if token is not None and key is not None:
        if secrets.compare_digest(token.encode(), key.get_secret_value().encode()):
            return None
        if not settings.authenticates:
            raise AuthError("the bearer is not PARLEY_PUSH_KEY")
    return authenticator.identify(authorization, None).user


async def body_of(request: Request, most: int) -> bytes:
    """The body of a request that is JSON. Raises: Refusal."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # A page elsewhere can have a visitor's browser send a form or a text, but not JSON without asking first.
    if kind != "application/json":
        raise Refusal(415, "not_json", f"content-type: is {kind or 'absent'}, and application/json is needed")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise Refusal(413, "too_large", f"the body has more than {most} bytes (PARLEY_MAX_FRAME_BYTES)")
    except ClientDisconnect:
        raise Refusal(400, "incomplete", "the client left before the body was whole") from None
    return bytes(body)


def key_of(header: str | None) -> str | None:
    """The idempotency key in its header. Raises: Refusal."""
    if header is not None and not (1 <= len(header) <= MAX_KEY and header.isascii() and header.isprintable()):
        raise Refusal(400, "bad_key", f"Idempotency-Key: needs 1 to {MAX_KEY} printable ASCII characters")
    return header


def input_of(push: Push, settings: Settings) -> NewInput:
    """The input a push becomes: a message of the user, or one to be shown. Raises: Refusal."""
    said = push.message
    body = codec.body_of(said or push)
    if len(body) > settings.inbox_bytes:
        raise Refusal(413, "too_large", f"{len(body)} bytes, an inbox has {settings.inbox_bytes} (PARLEY_INBOX_BYTES)")
    new_id = secrets.token_urlsafe(ID_BYTES)
    if said is not None:
        return NewInput(0, said.type, body, codec.checksum(body), new_id)
    return NewInput(0, push.type, body, codec.checksum(body), "", new_id)


def refusal(refused: Refused, settings: Settings) -> Refusal:
    """Why the store did not keep an input, in words."""
    if refused.reason == "conflict":
        return Refusal(409, "conflict", "Idempotency-Key: was used with another body")
    return Refusal(429, "busy", FULL[refused.limit].format(settings), RETRY_AFTER_MS // 1000)


def body_schema() -> dict[str, Any]:
    """The JSON Schema of a push's body, in one piece."""
    schema = Push.model_json_schema()
    definitions = schema.pop("$defs")
    for name in ("type", "n"):
        del schema["properties"][name]
        schema["required"].remove(name)
    whole: dict[str, Any] = _resolved(schema, definitions)
    return whole


def _resolved(value: Any, definitions: dict[str, Any]) -> Any:
    """`value` with what its references name in their place; none names itself."""
    if isinstance(value, list):
        return [_resolved(item, definitions) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return _resolved(definitions[value["$ref"].rpartition("/")[2]], definitions)
    return {name: _resolved(item, definitions) for name, item in value.items() if name != "discriminator"}
