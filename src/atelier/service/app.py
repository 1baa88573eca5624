"""The routes of the service.

POST /restore/MODEL    multipart `file`: a picture in, the restored picture out
POST /generate/MODEL   JSON: images of a GAN as one picture
GET  /models, /health, /metrics, /openapi.json; and pages for people: /, /docs
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import FastAPI, File, HTTPException, Query, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from atelier.data.sources.decoding import quiet_pillow
from atelier.data.sources.pictures import Unusable
from atelier.errors import UsageError
from atelier.service.answers import Answer, Form, Gone, Kitchen
from atelier.service.batches import Batches, Full
from atelier.service.door import Door
from atelier.service.fleet import Fleet, Served
from atelier.service.limits import Limits
from atelier.service.measures import Measures
from atelier.service.sightings import Sightings
from atelier.service.website import Website
from atelier.serving.classes import class_names_of, class_number

AT_ONCE = 4  # requests may be inside for each picture that may wait: they decode, or are read
MOST_IMAGES = 1024
CLOSED = 499  # nginx's number for a client that went away; nobody reads the answer

Format = Literal["png", "jpeg", "webp", "tiff"]
MEDIA = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "TIFF": "image/tiff"}
MEDIA |= {"GIF": "image/gif", "BMP": "image/bmp"}


class Wish(BaseModel):
    """What to generate."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    seed: int = Field(0, ge=0, lt=2**63, description="The same seed gives the same images.")
    wanted: int | str | None = Field(
        None, alias="class", description="Name or number of a class; null: all in turn."
    )
    number: int = Field(16, ge=1, le=MOST_IMAGES, description="How many images.")
    truncation: float | None = Field(
        None, gt=0, description="Draw latents from within this many standard deviations."
    )
    single: bool = Field(False, description="The first image alone, without a grid around it.")


class Service:
    """What the routes share.

    Args:
        fleet: opened.
        limits: see there.
        sightings: where statistics of pictures go.
    """

    def __init__(self, fleet: Fleet, limits: Limits, sightings: Sightings) -> None:
        self.fleet = fleet
        self.limits = limits
        self.measures = Measures()
        waiting_pixels = 2 * limits.max_pixels
        self.batches = Batches(limits.waiting, waiting_pixels, self.measures)
        self.sightings = sightings
        self.kitchen = Kitchen(self.batches, sightings, limits.max_pixels)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Follow the registry and answer, until the server ends."""
        follower = threading.Thread(target=self.fleet.follow, name="registry", daemon=True)
        with quiet_pillow():
            follower.start()
            self.batches.start()
            try:
                yield
            finally:
                self.fleet.end()
                await asyncio.to_thread(self.batches.end)
                self.kitchen.pool.shutdown()
                self.sightings.close()

    def find(self, name: str, kind: str) -> Served:
        """Who answers a request.

        Raises:
            HTTPException: 404, 409 or 503 with the reason.
        """
        served = self.fleet.get(name)
        if served is None:
            names = self.fleet.names()
            if name in names:
                raise HTTPException(503, f"{name} has no champion at the moment.")
            served_here = ", ".join(names)
            raise HTTPException(404, f"{name!r} is not served here; served are {served_here}.")
        if served.kind != kind:
            verbs = {"restoration": "restores: POST /restore/", "gan": "generates: POST /generate/"}
            raise HTTPException(409, f"{name} {verbs[served.kind]}{name}.")
        return served

    def health(self) -> dict[str, Any]:
        """Whether it answers, with what, and whether the registry is followed."""
        answering = self.fleet.all()
        return {
            "status": "ok" if answering else "no model",
            "models": {served.name: served.version.number for served in answering},
            "registry": self.fleet.problem or "followed",
        }

    def metrics(self) -> bytes:
        """For Prometheus."""
        self.measures.followed.set(not self.fleet.problem)
        self.measures.version.clear()
        for served in self.fleet.all():
            self.measures.version.labels(served.name).set(served.version.number)
        return self.measures.text()


def build_app(service: Service) -> FastAPI:
    """The application, for any ASGI server."""
    app = FastAPI(
        title="Atelier",
        description="Champions of the model factory, as they are promoted.",
        docs_url=None,
        redoc_url=None,
        lifespan=service.lifespan,
    )
    limits = service.limits
    app.add_middleware(Door, most=AT_ONCE * limits.waiting, max_bytes=limits.max_bytes)
    _add_errors(app)
    _add_work(app, service)
    _add_views(app, service)
    app.mount("/", Website())
    return app


def _add_errors(app: FastAPI) -> None:
    """Reasons, as {"detail": ...}, for whatever may go wrong with a request."""
    statuses: dict[type[Exception], int] = {Full: 429, UsageError: 422, ValueError: 422}

    def explain(request: Request, error: Exception) -> JSONResponse:
        status = next(status for kind, status in statuses.items() if isinstance(error, kind))
        headers = {"Retry-After": "1"} if status == 429 else {}
        return JSONResponse({"detail": str(error)}, status, headers)

    def explain_unusable(request: Request, error: Exception) -> JSONResponse:
        is_large = isinstance(error, Unusable) and error.reason == "too many pixels"
        status = 413 if is_large else 422
        return JSONResponse({"detail": f"the picture can't be used: {error}."}, status)

    def explain_memory(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "there is not enough memory for it at the moment."}, 503)

    for kind in statuses:
        app.add_exception_handler(kind, explain)
    app.add_exception_handler(Unusable, explain_unusable)
    app.add_exception_handler(MemoryError, explain_memory)
    app.add_exception_handler(Gone, lambda request, error: Response(status_code=CLOSED))


def _add_work(app: FastAPI, service: Service) -> None:
    @app.post("/restore/{model:path}", response_class=Response)
    async def restore(
        model: str,
        request: Request,
        file: Annotated[UploadFile, File(description="PNG, JPEG, WebP, TIFF, GIF or BMP.")],
        format: Annotated[Format | None, Query(description="Else as it came.")] = None,
        quality: Annotated[int | None, Query(ge=1, le=100, description="JPEG and WebP.")] = None,
        sigma: Annotated[float | None, Query(ge=0, le=1, description="Of the noise.")] = None,
        iterations: Annotated[int | None, Query(ge=1, description="If recurrent.")] = None,
    ) -> Response:
        """A picture, restored."""
        given = {"sigma": sigma, "iterations": iterations}
        settings = {name: value for name, value in given.items() if value is not None}
        served = service.find(model, "restoration")
        for name in settings:
            served.refuse_unknown(name)
        content = await file.read()
        form = Form(format and format.upper(), quality)
        with _measure(service, served):
            answer = await service.kitchen.restore(served, content, settings, form, request)
        return _response(served, answer)

    @app.post("/generate/{model:path}", response_class=Response)
    async def generate(
        model: str,
        request: Request,
        wish: Wish,
        format: Annotated[Format | None, Query(description="Of the answer; else PNG.")] = None,
    ) -> Response:
        """Images of a GAN, in a grid."""
        served = service.find(model, "gan")
        row: dict[str, float] = {"num_images": wish.number, "seed": wish.seed}
        wanted = None if wish.wanted is None else str(wish.wanted)
        row["class"] = class_number(wanted, class_names_of(served.config))
        if wish.truncation is not None:
            served.refuse_unknown("truncation")
            row["truncation"] = wish.truncation
        form = Form(format and format.upper())
        with _measure(service, served):
            answer = await service.kitchen.draw(served, row, wish.single, form, request)
        return _response(served, answer)


def _add_views(app: FastAPI, service: Service) -> None:
    @app.get("/models")
    async def models() -> list[dict[str, Any]]:
        """What is served at the moment, and what may be asked of each."""
        return [served.describe() for served in service.fleet.all()]

    @app.get("/health")
    async def health() -> JSONResponse:
        """200 if any model answers, else 503."""
        state = service.health()
        return JSONResponse(state, 200 if state["models"] else 503)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics(), media_type="text/plain; version=0.0.4")


@contextlib.contextmanager
def _measure(service: Service, served: Served) -> Iterator[None]:
    """Count a request, whatever becomes of it."""
    began = time.perf_counter()
    status = "failed"
    try:
        yield
        status = "answered"
    except Full:
        status = "refused"
        raise
    except Gone:
        status = "gone"
        raise
    finally:
        service.measures.requests.labels(served.name, status).inc()
        service.measures.seconds.labels(served.name).observe(time.perf_counter() - began)


def _response(served: Served, answer: Answer) -> Response:
    headers = {
        "X-Model": served.version.model,
        "X-Model-Version": str(served.version.number),
        "X-Model-Run": served.version.run_id,
    }
    if answer.notes:
        headers["X-Notes"] = quote("; ".join(answer.notes), safe=" ;,.:()'/-")
    return Response(answer.content, media_type=MEDIA[answer.file_format], headers=headers)
