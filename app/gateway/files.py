"""The routes of files: what they let in, how they say no while a body is still coming, and how they give out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from app.errors import ExecutorBusy, FileRefused, NoSuchSession, ParleyError
from app.gateway.auth import Authenticator
from app.gateway.refusals import Problem, Refusal
from app.protocol.frames import MAX_NAME
from app.settings import Settings
from app.store.file_index import FileInfo
from app.store.file_names import disposition
from app.store.files import FileStore

UPLOADS_AT_ONCE = 64
"""Uploads of one worker that come in at the same time."""

SILENT_FOR = 30.0
"""Seconds an upload may pause."""

UPLOAD_WITHIN = 3_600.0
"""Seconds an upload may take in all."""

LINGER = 2.0
"""Seconds for which the rest of a refused body is read and dropped, so that its sender gets to read the answer.

At most as many bytes are read as a file may have: a sender that is only a little over the limit gets there.
"""

RETRY_AFTER = 2
"""Seconds after which a worker that was too busy may be asked again."""

SHOWN = frozenset(
    {
        "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp",
        "audio/mpeg", "audio/mp4", "audio/wave", "audio/flac", "application/ogg", "video/mp4", "video/webm",
    }
)  # fmt: skip
"""Types that a browser may show in place: nothing in them is ever run."""

FENCED = {
    "Cache-Control": "private, no-cache",  # asked for again each time, so that access is checked each time
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What keeps a file from doing anything in the name of this server, even if it is opened as a page."""

_STATUS = {"too_large": 413, "type_refused": 415, "too_many_files": 409}


class FileItem(BaseModel):
    """A file of a session; `id` is the SHA-256 of its bytes, `type` was found by its content."""

    id: str
    name: str
    type: str
    size: int
    url: str


class FileRoutes:
    """`POST /sessions/{session}/files` and `GET /sessions/{session}/files/{file}`."""

    def __init__(self, files: FileStore, authenticator: Authenticator, settings: Settings) -> None:
        self._files = files
        self._authenticator = authenticator
        self._settings = settings
        self._uploads = 0

    def add_to(self, router: APIRouter) -> None:
        """Have a router answer them."""
        bearer = [Depends(HTTPBearer(auto_error=False))]
        router.add_api_route(
            "/sessions/{session}/files",
            self._upload,
            methods=["POST"],
            summary="Upload a file",
            status_code=201,
            response_model=FileItem,
            dependencies=bearer,
            responses={status: {"model": Problem} for status in (400, 401, 403, 404, 408, 409, 410, 413, 415, 503)},
            openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {}}}}},
        )
        router.add_api_route(
            "/sessions/{session}/files/{file}",
            self._download,
            summary="A file of a session",
            response_class=StreamingResponse,
            dependencies=bearer,
            responses={
                200: {"content": {"application/octet-stream": {}}},
                304: {"description": "The caller has it: `If-None-Match` named its `ETag`"},
                **{status: {"model": Problem} for status in (401, 403, 404, 410, 503)},
            },
        )

    # ---- routes

    async def _upload(self, session: str, request: Request, name: Annotated[str, Query()] = "") -> Response:
        """Keep the body as a file of the session, until that ends. `name` is what it is called.

        The same bytes are the same file, under its newest name. The type is found by the content; the request's
        `Content-Type` says nothing about it, and a form is refused. Only the session's own user may.
        """
        try:
            info = await self._keep(session, request, name)
        except ParleyError as error:
            refusal = _refusal(error)
            if refusal is None:
                raise
            return _Early(refusal, self._settings.max_file_bytes)
        item = FileItem(id=info.id, name=info.name, type=info.mime, size=info.size, url=info.url)
        return Response(item.model_dump_json(), 201, headers={"Location": info.url}, media_type="application/json")

    async def _download(self, session: str, file: str, request: Request) -> Response:
        """Its bytes, for the session's own user. Only images, recordings and films are to be shown in place."""
        info = await self._files.find(_checked(session), self._caller(request), file)
        headers = FENCED | {"ETag": f'"{info.id}"'}
        if info.id in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        headers |= {
            "Content-Disposition": disposition(info.name, inline=info.mime in SHOWN),
            "Content-Length": str(info.size),
            "Content-Type": _served(info),
        }
        return _Download(self._files.read(info), headers, self._settings.send_timeout)

    # ---- inside

    def _caller(self, request: Request) -> str:
        return self._authenticator.identify(request.headers.get("authorization"), None).user

    async def _keep(self, session: str, request: Request, name: str) -> FileInfo:
        user = self._caller(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            raise Refusal(415, "form", f"content-type: is {kind}; send the file itself as the body, its name in ?name=")
        if self._uploads >= UPLOADS_AT_ONCE:
            raise Refusal(503, "busy", f"{UPLOADS_AT_ONCE} uploads are coming in at this worker", RETRY_AFTER)
        self._uploads += 1
        try:
            body = _body_of(request)
            return await self._files.add(_checked(session), user, body, name=name, size=_said_size(request))
        finally:
            self._uploads -= 1


class _Early(Response):
    """A refusal of a body that may still be coming: it is said at once, and then the connection is closed."""

    def __init__(self, refusal: Refusal, drop: int) -> None:
        self._drop = drop
        answer = refusal.response()
        super().__init__(answer.body, answer.status_code, dict(answer.headers) | {"Connection": "close"})

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                await self._read_on(receive)
        await send({"type": "http.response.body", "body": b""})

    async def _read_on(self, receive: Receive) -> None:
        read = 0
        while read < self._drop and (message := await receive()).get("more_body"):
            read += len(message["body"])


class _Download(StreamingResponse):
    """A file on its way. One piece of it may take `within` seconds, then its reader is given up."""

    def __init__(self, body: AsyncIterator[bytes], headers: dict[str, str], within: float) -> None:
        super().__init__(body, headers=headers)
        self._within = within

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Any) -> None:
            async with asyncio.timeout(self._within):
                await send(message)

        await super().__call__(scope, receive, send_in_time)


async def _body_of(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes. Raises: Refusal."""
    deadline = asyncio.get_running_loop().time() + UPLOAD_WITHIN
    stream = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout_at(min(deadline, asyncio.get_running_loop().time() + SILENT_FOR)):
                data = await anext(stream, None)
        except TimeoutError:
            raise Refusal(408, "too_slow", f"no byte came for {SILENT_FOR:g} s, or not all in an hour") from None
        except ClientDisconnect:
            raise Refusal(400, "incomplete", "the client left before the body was whole") from None
        if data is None:
            return
        yield data


def _said_size(request: Request) -> int | None:
    said = request.headers.get("content-length", "")
    return int(said) if said.isascii() and said.isdigit() else None


def _served(info: FileInfo) -> str:
    """The type a file is served as: never one that a browser would run, such as HTML or SVG."""
    if info.mime in SHOWN or info.mime == "application/pdf":
        return info.mime
    return "text/plain; charset=utf-8" if info.mime.startswith("text/") else "application/octet-stream"


def _checked(session: str) -> str:
    if len(session) > MAX_NAME:
        raise NoSuchSession(session)
    return session


def _refusal(error: ParleyError) -> Refusal | None:
    match error:
        case FileRefused():
            return Refusal(_STATUS[error.code], error.code, str(error))
        case ExecutorBusy():
            return Refusal(503, "busy", "this worker is busy: try again later", RETRY_AFTER)
        case _:
            return Refusal.because(error)
