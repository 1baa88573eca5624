"""How much is let in: requests at once, and bytes of each. Before anything of them is read."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Door:
    """ASGI middleware: 413 for a body that is too large, 429 where too many are inside.

    Args:
        app: behind it.
        most: requests with a body that may be inside.
        max_bytes: of a body.
    """

    def __init__(self, app: ASGIApp, most: int, max_bytes: int) -> None:
        self._app = app
        self._most = most
        self._max_bytes = max_bytes
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or say why not."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        if self._inside >= self._most:
            reason = f"{self._inside} requests are at work already. Ask again in a moment."
            refusal = JSONResponse({"detail": reason}, 429, {"Retry-After": "1"})
            await refusal(scope, receive, send)
            return
        self._inside += 1
        try:
            await self._let_in(scope, receive, send)
        finally:
            self._inside -= 1

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        reason = f"the request has more than {self._max_bytes:,} bytes. Send less."
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > self._max_bytes:
            await JSONResponse({"detail": reason}, 413)(scope, receive, send)
            return
        num_bytes = 0

        async def receive_within() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > self._max_bytes:
                raise HTTPException(413, reason)
            return message

        await self._app(scope, receive_within, send)
