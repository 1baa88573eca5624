"""The records of `degradation` in params.yaml: one for each step of the forward model.

Most parameters are a number, or a range `[low, high]` from which each image draws its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError

from atelier.params.record import Record


def _or_range(number: Any) -> BeforeValidator:
    """Accepts, strictly, what the annotated type does, or a list of two with the lower one first.

    Before the union's own check, which would report each of its branches.
    """
    one: TypeAdapter[Any] = TypeAdapter(number)

    def check(given: Any) -> Any:
        if not isinstance(given, (list, tuple)):
            return one.validate_python(given, strict=True)
        if len(given) != 2:
            raise PydanticCustomError("range", "should be a number or a range [low, high]")
        low, high = (one.validate_python(end, strict=True) for end in given)
        if low >= high:
            raise PydanticCustomError("range", "should be a range [low, high] with low below high")
        return low, high

    return BeforeValidator(check)


Drawn = float | tuple[float, float]
DrawnInt = int | tuple[int, int]
Sigma = Annotated[Drawn, _or_range(Annotated[float, Field(gt=0, le=1)])]
Share = Annotated[Drawn, _or_range(Annotated[float, Field(gt=0, lt=1)])]
Count = Annotated[DrawnInt, _or_range(Annotated[int, Field(ge=1, le=64)])]


def largest(value: Drawn) -> float:
    """The largest value that a parameter can take."""
    return max(value) if isinstance(value, tuple) else value


class Noise(Record):
    """Additive white Gaussian noise; not clipped."""

    sigma: Sigma  # standard deviation in units of the image range


class Poisson(Record):
    """Photon counting noise; not clipped above."""

    # Mean count of a white pixel: less is noisier.
    peak: Annotated[Drawn, _or_range(Annotated[float, Field(gt=0, le=1e6)])]


class SaltAndPepper(Record):
    """Values that are lost at random, half of them to 0 and half to 1; each channel by itself."""

    fraction: Share  # of all values


class Speckle(Record):
    """Multiplicative Gaussian noise; not clipped."""

    sigma: Sigma  # standard deviation of the factor around 1


class GaussianBlur(Record):
    """Blur by a Gaussian; the edge repeats beyond the border, as in every blur."""

    # Standard deviation in pixels.
    sigma: Annotated[Drawn, _or_range(Annotated[float, Field(gt=0, le=16)])]


class BoxBlur(Record):
    """Blur by the mean of a square."""

    # Pixels: the square's side is 2 * radius + 1.
    radius: Annotated[DrawnInt, _or_range(Annotated[int, Field(ge=1, le=32)])]


class MotionBlur(Record):
    """Blur by a straight movement at constant speed."""

    length: Annotated[Drawn, _or_range(Annotated[float, Field(gt=1, le=64)])]  # of the path, pixels
    angle: Annotated[Drawn, _or_range(Annotated[float, Field(ge=0, le=180)])] = (
        0.0,
        180.0,
    )  # anticlockwise from the x axis


class KernelBlur(Record):
    """Blur by one of the kernels of a file, a different one for each image."""

    # .npy or .npz of kernels with odd sides that sum to 1, from the project folder.
    path: str = Field(min_length=1)
    # Of the file: other kernels are another degradation.
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Mask(Record):
    """Square boxes at random places, filled with mid grey (inpainting); each of its own size."""

    size: Annotated[DrawnInt, _or_range(Annotated[int, Field(ge=1)])]  # pixels
    count: Count = 1  # how many of them


class Strokes(Record):
    """Random strokes of a round brush, filled with mid grey; each of its own width."""

    width: Annotated[Drawn, _or_range(Annotated[float, Field(ge=1, le=256)])]  # pixels
    count: Count = 1  # how many of them


class MissingPixels(Record):
    """Single pixels that are lost at random, filled with mid grey."""

    fraction: Share  # of all pixels


class Downsample(Record):
    """Antialiased bicubic downsampling (super-resolution)."""

    factor: Literal[2, 3, 4]  # that height and width are divided by


class Jpeg(Record):
    """Saved as a JPEG file and read again; clips and rounds to 8 bits before."""

    quality: Annotated[DrawnInt, _or_range(Annotated[int, Field(ge=1, le=100)])]  # of libjpeg


class Decolourise(Record):
    """Colour to grey, in three equal channels; it has no parameters: `decolourise: {}`."""


class Degradation(Record):
    """One step of the forward model y = noise(A(x)): exactly one of its keys."""

    noise: Noise | None = None
    poisson: Poisson | None = None
    salt_and_pepper: SaltAndPepper | None = None
    speckle: Speckle | None = None
    gaussian_blur: GaussianBlur | None = None
    box_blur: BoxBlur | None = None
    motion_blur: MotionBlur | None = None
    kernel_blur: KernelBlur | None = None
    mask: Mask | None = None
    strokes: Strokes | None = None
    missing_pixels: MissingPixels | None = None
    downsample: Downsample | None = None
    jpeg: Jpeg | None = None
    decolourise: Decolourise | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Degradation:
        given = sorted(name for name in type(self).model_fields if getattr(self, name) is not None)
        if len(given) != 1:
            allowed = ", ".join(type(self).model_fields)
            raise ValueError(
                f"a degradation step has exactly one key of {allowed}; this one has "
                f"{given or 'none'}"
            )
        return self

    def resolve_paths(self, project_root: Path) -> Degradation:
        """The same step with the path of a file as it is to be opened from anywhere."""
        if self.kernel_blur is None:
            return self
        kernels = self.kernel_blur.model_copy(
            update={"path": str(project_root / self.kernel_blur.path)}
        )
        return self.model_copy(update={"kernel_blur": kernels})
