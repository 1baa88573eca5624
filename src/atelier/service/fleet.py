"""Which version of each model answers; follows the registry while requests go on."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atelier.errors import AtelierError, UsageError
from atelier.params.references import Reference
from atelier.registry import CHAMPION
from atelier.serving.classes import class_names_of

if TYPE_CHECKING:
    from atelier.registry import Registry, Version

EVERY_SECONDS = 2.0  # that the registry is asked; a promotion is served within 5
AGAIN_SECONDS = 30.0  # after which a version that could not be loaded is tried again
KINDS = ("restoration", "gan")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """A version, in memory.

    Attributes:
        name: by which it is asked for.
        version: that answers.
        model: the served model, as MLflow loaded it: `predict(None, images or table, params)`.
        columns: of a GAN's table, by its signature; MLflow drops others, its stored code too.
        since: when it was taken up, in seconds since 1970.
    """

    name: str
    version: Version
    model: Any
    columns: tuple[str, ...] = ()
    since: float = field(default_factory=time.time)

    @property
    def config(self) -> dict[str, Any]:
        """Of its bundle."""
        config: dict[str, Any] = self.model.config
        return config

    @property
    def kind(self) -> str:
        """Restoration or gan."""
        return str(self.config["kind"])

    @property
    def settings(self) -> tuple[str, ...]:
        """What a request may set: of a restorer `iterations`, `sigma`; of a GAN `truncation`."""
        network = self.config["network"]
        if self.kind == "gan":
            return ("truncation",) if "truncation" in self.columns else ()
        names = ("iterations",) if "iterations" in network else ()
        return (*names, "sigma") if network.get("noise_level") else names

    def refuse_unknown(self, setting: str) -> None:
        """Refuse a setting that this version does not have.

        Raises:
            UsageError: if it is none of `settings`.
        """
        if setting not in self.settings:
            own = ", ".join(self.settings) or "none"
            raise UsageError(
                f"{setting} has no meaning for {self.version}, whose settings are: {own}. "
                "Leave it out."
            )

    def describe(self) -> dict[str, Any]:
        """What whoever asks has to know of it."""
        network = self.config["network"]
        described = {
            "name": self.name,
            "kind": self.kind,
            "version": self.version.number,
            "run": self.version.run_id,
            "since": self.since,
            "channels": self.config["channels"],
            "settings": list(self.settings),
        }
        if self.kind == "restoration":
            own = {"upscale": network.get("upscale", 1)}
        else:
            own = {
                "image_size": self.config["image_size"],
                "class_names": class_names_of(self.config),
                "num_classes": network["num_classes"],
            }
        return described | own


class Fleet:
    """The models that are served, each by the version that its reference names at the moment.

    Requests take a `Served` and keep it: a version that is replaced finishes what it has begun.

    Args:
        registry: asked by one thread at a time.
        references: NAME (its champion), NAME@ALIAS or NAME/VERSION; none: whatever has a champion.
        tell: is told what is served from now on.
    """

    def __init__(
        self, registry: Registry, references: Sequence[str], tell: Callable[[str], None]
    ) -> None:
        self._registry = registry
        self._references = [Reference.parse(text) for text in references]
        self._tell = tell
        self._served: dict[str, Served] = {}
        # Versions that are not served, and until when, in seconds of the monotonic clock.
        self._left_out: dict[tuple[str, int], float] = {}
        self._ended = threading.Event()
        self.problem = ""  # why the registry is not followed at the moment

    def open(self) -> None:
        """Load what is to be served.

        Raises:
            UsageError: if there is none, or one that is named is not there or of another kind.
        """
        for reference in self._references:
            self._registry.resolve(str(reference))  # explains what is not there
        self._follow(strict=True)
        if not self._served:
            raise UsageError(
                "no model that restores or generates has a champion to serve. `atelier run` "
                "trains models, `atelier promote MODEL N` makes a version champion."
            )

    def names(self) -> list[str]:
        """Under which models are asked for, whether or not there is a version at the moment."""
        return sorted({*map(str, self._references), *self._served.copy()})

    def all(self) -> list[Served]:
        """What answers at the moment."""
        answering = self._served.copy()  # the follower may change it meanwhile
        return [answering[name] for name in sorted(answering)]

    def get(self, name: str) -> Served | None:
        """What answers under a name."""
        return self._served.get(name)

    def follow(self) -> None:
        """Go after the registry until `end`."""
        while not self._ended.wait(EVERY_SECONDS):
            try:
                self._follow(strict=False)
                self.problem = ""
            except Exception as error:  # whatever it is, the last versions go on answering
                if not self.problem:
                    logger.warning("the registry is not followed at the moment: %s", error)
                self.problem = str(error)

    def end(self) -> None:
        """Let `follow` return."""
        self._ended.set()

    def _follow(self, strict: bool) -> None:
        aliases = self._registry.aliases()
        references = self._references or [Reference(name) for name in aliases]
        for reference in references:
            name = str(reference)
            number = reference.number
            if number is None:
                own = aliases.get(reference.model, {})
                number = own.get(reference.alias or CHAMPION)
            served = self._served.get(name)
            if number is None:
                if self._served.pop(name, None):
                    self._tell(f"{name} has no version to serve any more")
            elif served is None or served.version.number != number:
                if time.monotonic() > self._left_out.get((name, number), 0):
                    self._take_up(reference, number, strict)
        gone = self._served.keys() - {str(reference) for reference in references}
        for name in gone:
            del self._served[name]

    def _take_up(self, reference: Reference, number: int, strict: bool) -> None:
        """Load a version and answer with it from then on; one that is broken leaves the last."""
        name = str(reference)
        try:
            version = self._registry.version(reference.model, number)
            loaded = self._registry.load(version)
        except AtelierError as error:
            if strict and self._references:
                raise
            logger.warning("version %s of %s is not served: %s", number, name, error)
            self._left_out[name, number] = time.monotonic() + AGAIN_SECONDS
            return
        model = loaded.unwrap_python_model()
        kind = model.config["kind"]
        if kind not in KINDS:
            self._left_out[name, number] = math.inf
            if strict and self._references:
                raise UsageError(
                    f"{version} is a {kind} model; restorers and GANs can be served. Leave it out."
                )
            return
        inputs = loaded.metadata.signature.inputs
        columns = tuple(inputs.input_names()) if kind == "gan" else ()
        self._served[name] = Served(name, version, model, columns)
        self._tell(f"{name}: version {number}")
