"""params.yaml as frozen, strict, typed records; every mistake is reported at once, each with its dotted path.

`load_params` is the only way in. A record's field is a key of params.yaml; its type and range are the documentation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from atelier.errors import ConfigError
from atelier.params_errors import describe_errors

MODEL_NAME = r"^[a-z0-9][a-z0-9-]*$"  # also a file name, an MLflow name and a Prefect artifact key: nothing to escape
Name = Annotated[str, Field(pattern=MODEL_NAME)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Record(BaseModel):
    """A frozen section of params.yaml that refuses unknown keys and never converts a type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Dataset(Record):
    """One entry of `datasets`: where the pictures come from and the form they are stored in."""

    source: Literal["fashion-mnist", "folder"]
    path: str | None = None  # folder: the pictures; fashion-mnist: a folder that already holds the four IDX files
    image_size: int = Field(ge=16, le=256)  # pixels; a folder's pictures are scaled and centre-cropped to this square
    channels: Literal[1, 3]
    test_fraction: Fraction = 0.1  # used where the source has no test split of its own
    validation_fraction: Fraction = 0.05  # of what is not test
    max_quarantined: Fraction = 0.05  # a larger share of unusable pictures stops the run before any training

    @model_validator(mode="after")
    def _folder_needs_path(self) -> Dataset:
        if self.source == "folder" and self.path is None:
            raise ValueError("source 'folder' needs a path: add `path: FOLDER`")
        return self


class Noise(Record):
    """Additive white Gaussian noise; not clipped."""

    sigma: float = Field(gt=0, le=1)  # standard deviation in units of the image range


class Mask(Record):
    """A square box at a random place, filled with mid grey (inpainting)."""

    size: int = Field(ge=1)  # pixels


class Downsample(Record):
    """Antialiased bicubic downsampling (super-resolution)."""

    factor: Literal[2]


class Degradation(Record):
    """One step of the forward model y = noise(A(x)): exactly one of its keys."""

    noise: Noise | None = None
    mask: Mask | None = None
    downsample: Downsample | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Degradation:
        given = sorted(name for name in type(self).model_fields if getattr(self, name) is not None)
        if len(given) != 1:
            allowed = ", ".join(type(self).model_fields)
            raise ValueError(f"a degradation step has exactly one key of {allowed}; this one has {given or 'none'}")
        return self


class CnnClassifierNetwork(Record):
    """The classifier's network: strided convolutions, global pooling, linear head."""

    name: Literal["cnn"]
    width: int = Field(ge=4, le=512)


class CnnRestorerNetwork(Record):
    """A residual convolutional restorer (DnCNN class)."""

    name: Literal["cnn"]
    width: int = Field(ge=4, le=512)
    depth: int = Field(ge=2, le=64)


class CrnnRestorerNetwork(Record):
    """A recurrent convolutional restorer; weights are shared over the iterations."""

    name: Literal["crnn"]
    width: int = Field(ge=4, le=512)
    iterations: int = Field(ge=1, le=32)


class DcganGeneratorNetwork(Record):
    """The GAN's generator."""

    name: Literal["dcgan"]
    width: int = Field(ge=4, le=512)
    latent_dim: int = Field(ge=1, le=1024)


class DcganDiscriminatorNetwork(Record):
    """The GAN's discriminator."""

    name: Literal["dcgan"]
    width: int = Field(ge=4, le=512)


class Training(Record):
    """Budget, optimizer and rhythm of a training; all lengths are counted in thousands of images seen (kimg)."""

    kimg: Positive
    batch_size: int = Field(ge=1)
    lr: Positive  # peak learning rate of Adam: linear warm-up, then cosine decay to zero
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    warmup_kimg: float = Field(default=0.0, ge=0)
    ema_halflife_kimg: Positive = 5.0  # the weights that are registered are this moving average
    flip: bool = False  # mirror training images at random
    log_every_kimg: Positive = 5.0
    sample_every_kimg: Positive = 50.0  # sample grid and validation score
    checkpoint_every_kimg: Positive = 50.0


class ClassificationModel(Record):
    """A classifier; it also serves as feature extractor for the scores of other models."""

    kind: Literal["classification"]
    dataset: Name
    network: CnnClassifierNetwork
    training: Training


class GanModel(Record):
    """A class-conditional generator trained against a discriminator."""

    kind: Literal["gan"]
    dataset: Name
    generator: DcganGeneratorNetwork
    discriminator: DcganDiscriminatorNetwork
    loss: Literal["minimax", "non-saturating", "relativistic"]
    r1_gamma: float = Field(ge=0)  # weight of the gradient penalty on real images; 0 switches it off
    r2_gamma: float = Field(ge=0)  # the same on generated images
    training: Training


class RestorationModel(Record):
    """A network that undoes a degradation."""

    kind: Literal["restoration"]
    dataset: Name
    degradation: tuple[Degradation, ...] = Field(min_length=1)
    network: Annotated[CnnRestorerNetwork | CrnnRestorerNetwork, Field(discriminator="name")]
    loss: Literal["l2", "l1", "charbonnier"]
    training: Training


Model = Annotated[ClassificationModel | GanModel | RestorationModel, Field(discriminator="kind")]


class Evaluation(Record):
    """How models are scored; a change here scores again and trains nothing."""

    features: str = Field(pattern=r"^classifier:[a-z0-9][a-z0-9-]*$")  # the extractor: the champion of that model
    num_images: int = Field(ge=100)  # test images, and generated images of a GAN
    confidence: float = Field(gt=0.5, lt=1)
    cas_kimg: Positive  # training budget of the classifier that sees generated images only

    @property
    def classifier(self) -> str:
        """Name of the model whose features are used."""
        return self.features.removeprefix("classifier:")


class Gate(Record):
    """When a version may become champion: floors hold, and `metric` is better with intervals apart."""

    metric: str
    floors: dict[str, float] = Field(default_factory=dict)  # worst acceptable value of each metric


class Promotion(Record):
    """One gate for each kind of model."""

    classification: Gate
    gan: Gate
    restoration: Gate


class Params(Record):
    """The desired state: all of params.yaml."""

    seed: int = Field(ge=0, lt=2**31)
    device: str = Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    threads: Literal["auto"] | Annotated[int, Field(ge=1)]  # CPU threads of torch; results differ between counts
    datasets: dict[Name, Dataset]
    models: dict[Name, Model]
    evaluation: Evaluation
    promotion: Promotion

    def resolved(self) -> dict[str, Any]:
        """All values, defaults included, as plain JSON types."""
        return self.model_dump(mode="json", exclude_none=True)


def load_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """Read params.yaml, apply `dotted.key=value` overrides, and check everything.

    Raises:
        ConfigError: naming every mistake at once, each with its dotted path.
    """
    from atelier.params_checks import combination_errors

    raw = _read_yaml(path)
    for override in overrides:
        _apply_override(raw, override)
    try:
        params = Params.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        problems = describe_errors(error, raw, Params)
    else:
        problems = combination_errors(params)
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        count = f"{len(problems)} mistake{'s' if len(problems) > 1 else ''}"
        raise ConfigError(f"{path.name}: {count}, nothing was run:\n{lines}")
    return params


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist. Run atelier in a project folder, or give --params FILE.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}.") from None
    try:
        raw = _parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{path.name} is not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path.name} is empty or not a mapping; it needs the keys {list(Params.model_fields)}.")
    return raw


def _parse_yaml(text: str) -> Any:
    """Plain JSON types; any ValueError says what is wrong with the text."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        # ruamel reads YAML 1.2 as DVC does: `1e-4` is a number and `no` a string, so both tools see the same values.
        return json.loads(json.dumps(YAML(typ="safe", pure=True).load(text), default=str))
    except (YAMLError, TypeError) as error:  # TypeError: a key that is a list or a date
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _apply_override(raw: dict[str, Any], override: str) -> None:
    from atelier.params_errors import nearest

    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"-S {override}: expected dotted.key=value, for example -S seed=8.")
    try:
        value = _parse_yaml(text)
    except ValueError:
        raise ConfigError(f"-S {override}: {text!r} is not a YAML value.") from None
    section: Any = raw
    for depth, part in enumerate(parts[:-1]):
        try:
            section = section[int(part)] if isinstance(section, list) else section[part]
        except (KeyError, IndexError, TypeError, ValueError):
            here = ".".join(parts[: depth + 1])
            known = list(section) if isinstance(section, dict) else []
            raise ConfigError(f"-S {override}: there is no {here} in params.yaml.{nearest(part, known)}") from None
    try:
        section[int(parts[-1]) if isinstance(section, list) else parts[-1]] = value
    except (IndexError, TypeError, ValueError):
        raise ConfigError(f"-S {override}: {'.'.join(parts[:-1])} has no key {parts[-1]!r}.") from None
