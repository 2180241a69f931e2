"""The routes of the playground: its page and the page's files, with the headers that fence them in."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.playground.assets import INDEX, MANUAL, Asset, load

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",  # the WebSocket too: `'self'` matches ws: and wss: of the same host (CSP 3)
    "form-action": "'none'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "dompurify",
}
"""What the page may do. Nothing but the sanitiser makes HTML of a text: no script comes out of what an agent says."""

HEADERS = {
    "Content-Security-Policy": "; ".join(f"{directive} {value}" for directive, value in POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Names stay the same over versions, so a browser asks each time, and is told 304 for what it has.
    "Cache-Control": "no-cache",
}


class Page:
    """`GET /` and `GET /playground/{file}`. The files are in memory: no path from outside reaches a disk."""

    def __init__(self) -> None:
        self._files = load()
        self._page = self._files.pop(INDEX)
        del self._files[MANUAL]

    def routes(self) -> list[Route]:
        """What the application has to answer."""
        return [Route("/", self._index), Route("/playground/{path:path}", self._file)]

    async def _index(self, request: Request) -> Response:
        return answer(request, self._page)

    async def _file(self, request: Request) -> Response:
        asset = self._files.get(request.path_params["path"])
        if asset is None:
            return PlainTextResponse("there is no such file", 404, HEADERS)
        return answer(request, asset)


def answer(request: Request, asset: Asset) -> Response:
    """A file under the headers of the page, or 304 if the browser has it."""
    headers = {**HEADERS, "ETag": asset.etag}
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(asset.body, headers={**headers, "Content-Type": asset.media_type})
