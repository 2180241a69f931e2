"""The routes of those who watch a worker: is it alive, may it be sent clients, what has it counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from app.errors import StoreError
from app.metrics import REGISTRY, TASKS

READY_WITHIN = 1.0
"""Seconds the store may take to answer."""


class Health:
    """`/healthz`, `/readyz` and `/metrics`.

    `ready` answers what keeps the store from serving, in words, empty if nothing does. Set `draining` once the
    worker is to get no new clients.
    """

    def __init__(self, ready: Callable[[], Awaitable[str]]) -> None:
        self._ready = ready
        self.draining = False
        self.router = APIRouter()
        self.router.add_api_route("/healthz", self._healthz, response_class=PlainTextResponse)
        self.router.add_api_route("/readyz", self._readyz)
        self.router.add_api_route("/metrics", self._metrics)

    async def _healthz(self) -> PlainTextResponse:
        """200 as long as the event loop turns."""
        return PlainTextResponse("ok")

    async def _readyz(self) -> JSONResponse:
        """200 if clients may be sent here, else 503 with the reasons."""
        reasons = [reason for reason in (await self._store(), "draining" if self.draining else "") if reason]
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def _metrics(self) -> Response:
        """Prometheus text."""
        TASKS.set(len(asyncio.all_tasks()))
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    async def _store(self) -> str:
        try:
            async with asyncio.timeout(READY_WITHIN):
                return await self._ready()
        except TimeoutError:
            return f"the store did not answer within {READY_WITHIN:g} s"
        except StoreError as error:
            return str(error)
