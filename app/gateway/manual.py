"""The documentation in the browser: the pages that an agent quotes are there where its links lead."""

from __future__ import annotations

import html
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.gateway.auth import Authenticator, AuthError
from app.gateway.origin import OriginPolicy
from app.gateway.page import HEADERS, answer
from app.playground.assets import MANUAL, Asset, load, make
from app.settings import Settings

MARKDOWN = "text/markdown; charset=utf-8"

PICTURE = "image/svg+xml"


class Manual:
    """`GET /README.md` and `GET /docs/{page}`: for a browser a page that shows it, else the Markdown itself; pictures.

    All are for whoever may talk with an agent. The pages of `root` are read once: no path from outside reaches a
    disk, and there are no routes where there are no pages.
    """

    def __init__(self, root: Path, authenticator: Authenticator, settings: Settings) -> None:
        paths = [path for path in (root / "README.md", *sorted(root.glob("docs/*.md"))) if path.is_file()]
        self._pages = {path.relative_to(root).as_posix(): make(path.read_bytes(), MARKDOWN) for path in paths}
        pictures = root.glob("docs/*.svg") if self._pages else ()
        self._pictures = {path.relative_to(root).as_posix(): make(path.read_bytes(), PICTURE) for path in pictures}
        self._frame = load()[MANUAL]
        self._authenticator = authenticator
        self._origins = OriginPolicy(settings)

    def routes(self) -> list[Route]:
        """What the application has to answer."""
        return [Route("/README.md", self._get), Route("/docs/{path:path}", self._get)] if self._pages else []

    async def _get(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        name = request.scope["path"].removeprefix(request.scope.get("root_path", "")).removeprefix("/")
        if picture := self._pictures.get(name):
            return answer(request, picture)
        page = self._pages.get(name)
        if page is None:
            return PlainTextResponse("there is no such page", 404, HEADERS)
        is_browser = "text/html" in request.headers.get("accept", "")
        response = answer(request, self._framed(name) if is_browser else page)
        response.headers["Vary"] = "Accept"
        return response

    def _refusal(self, request: Request) -> Response | None:
        if reason := self._origins.refusal(request.headers.get("host"), request.headers.get("origin")):
            return PlainTextResponse(reason, 403, HEADERS)
        try:
            self._authenticator.identify(request.headers.get("authorization"), None)
        except AuthError as error:
            return PlainTextResponse(str(error), 401, HEADERS)
        return None

    def _framed(self, name: str) -> Asset:
        """The page around a page: its script asks for the Markdown and shows it."""
        root = "../" * name.count("/")
        links = (_link(root, page, is_current=page == name) for page in self._pages)
        body = self._frame.body.decode().replace("{root}", root).replace("{pages}", "\n".join(links))
        return make(body.encode(), self._frame.media_type)


def _link(root: str, page: str, *, is_current: bool) -> str:
    current = ' aria-current="page"' if is_current else ""
    return f'<li><a href="{root}{quote(page)}"{current}>{html.escape(page)}</a></li>'
