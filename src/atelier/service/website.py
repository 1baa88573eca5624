"""The pages for people: files beside this one, with the rules that browsers shall hold them to."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

PAGES = Path(__file__).parent / "pages"
POLICY = (
    "default-src 'self'",
    "img-src 'self' blob: data:",  # what was picked and what was answered
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
HEADERS = {
    "Content-Security-Policy": "; ".join(POLICY),
    "Cache-Control": "no-cache",  # asked again each time: after an update all files fit each other
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Website(StaticFiles):
    """`/` is index.html and `/docs` docs.html; each with `HEADERS`."""

    def __init__(self) -> None:
        super().__init__(directory=PAGES, html=True)

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """The file of a path, which may lack its `.html`."""
        full_path, status = super().lookup_path(path)
        if status is None and path and not Path(path).suffix:
            return super().lookup_path(f"{path}.html")
        return full_path, status

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or 304 for whoever has it already.

        Raises:
            HTTPException: 404 or 405.
        """
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response
