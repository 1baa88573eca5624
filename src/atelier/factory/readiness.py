"""What a training and the evaluation after it need of the data, checked before either begins.

The metrics refuse the same themselves; by then the training is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from atelier.data.splits import Split
from atelier.data.store import StoredDataset
from atelier.degradations import upscale_of
from atelier.errors import TrainingError
from atelier.metrics.distances import KID_MIN_BLOCKS
from atelier.metrics.neighbours import DENSITY_K, MEMORISATION_K
from atelier.metrics.structure import SSIM_WINDOW
from atelier.params import (
    ClassificationModel,
    GanModel,
    Model,
    Params,
    RestorationModel,
    TranslationModel,
)
from atelier.params.extractors import NUM_FEATURES
from atelier.params.measures import distances
from atelier.params.promotion import Gate
from atelier.training.pixels import sizes_of
from atelier.training.restoration import degradation_steps

FEWEST_SCORED = 2  # images: an interval needs a spread
# Images on whose features sets are compared: ten blocks of KID, and the neighbours of density and
# memorisation.
FEWEST_COMPARED = max(2 * KID_MIN_BLOCKS, DENSITY_K + 1, MEMORISATION_K)
SPARE = 1.25  # pictures are split by their content, so a share of them is met about


def require_enough_data(params: Params, name: str, datasets: Sequence[StoredDataset]) -> None:
    """Refuse a training that these data do not suffice for, or whose result could not be scored.

    Args:
        params: the desired state.
        name: the model.
        datasets: its own, and that of damaged pictures where it has one.

    Raises:
        TrainingError: naming all that is missing, with how much is needed.
    """
    model = params.models[name]
    problems = [
        *_batch_problems(model, datasets),
        *_count_problems(params, model, datasets),
        *_size_problems(params, model, datasets[0]),
        *_recipe_problems(params, model),
    ]
    if problems:
        raise TrainingError("\n  ".join([f"models.{name} was not trained:", *problems]))


def _batch_problems(model: Model, datasets: Sequence[StoredDataset]) -> Iterator[str]:
    if isinstance(model, RestorationModel) and model.data.extend is not None:
        return  # generated images are added, whose number is known when they are drawn
    batch_size = model.training.batch_size
    halved = isinstance(model, TranslationModel) and model.damaged is None
    for dataset in datasets:
        count = dataset.info.counts["train"]
        limited = min(count, model.data.limit or count)
        if limited // (1 + halved) < batch_size:
            half = ", of which half are damaged" if halved else ""
            yield (
                f"datasets.{dataset.name}: the train split has {limited} images{half}, fewer than "
                f"training.batch_size = {batch_size}. Add pictures, or lower training.batch_size."
            )


def _count_problems(
    params: Params, model: Model, datasets: Sequence[StoredDataset]
) -> Iterator[str]:
    unpaired = isinstance(model, TranslationModel) and model.damaged is not None
    if not isinstance(model, GanModel) and not unpaired:
        yield from _too_few(datasets[0], "test", FEWEST_SCORED, "a score with its interval")
        return
    for dataset in datasets:
        yield from _too_few(
            dataset, "test", FEWEST_COMPARED, "KID and the other scores on features"
        )
    yield from _too_few(
        datasets[0], "train", FEWEST_COMPARED, "the same scores of real images, the floor,"
    )
    gate = getattr(params.promotion, model.kind)
    asked = {gate.metric, *gate.floors} if isinstance(gate, Gate) else set()
    extractor = params.evaluation.extractor
    if extractor in NUM_FEATURES and (frechet := distances(extractor)[0]) in asked:
        more = NUM_FEATURES[extractor] + 1
        for dataset in datasets:
            yield from _too_few(
                dataset, "test", more, f"{frechet}, which promotion.{model.kind} asks for,"
            )


def _too_few(dataset: StoredDataset, split: Split, needed: int, what: str) -> Iterator[str]:
    have = dataset.info.counts[split]
    total = sum(dataset.info.counts.values())
    if have >= needed:
        return
    where = f"datasets.{dataset.name}"
    share = have / max(1, total)
    fraction = SPARE * needed / max(1, total)
    remedies = [
        f"add pictures (about {round(SPARE * needed / max(share, 0.05))} in all are enough)"
    ]
    if split == "test" and fraction <= 0.5:
        remedies.insert(0, f"raise {where}.test_fraction to about {fraction:.2f}")
    yield (
        f"{where}: the {split} split has {have} of the {total} images; {what} needs at least "
        f"{needed}. "
        f"{' or '.join(remedies).capitalize()}."
    )


def _size_problems(params: Params, model: Model, dataset: StoredDataset) -> Iterator[str]:
    """SSIM looks through a window, at test images that may keep their own size."""
    if not isinstance(model, (RestorationModel, TranslationModel)) or model.degradation is None:
        return
    evaluation = params.evaluation
    factor = upscale_of(degradation_steps(model))
    images = dataset.images("test")
    if not len(images):
        return
    side = int(sizes_of(images)[: evaluation.num_images].min())
    if dataset.info.image_size is None:
        side = min(side, evaluation.max_side) // factor * factor
    if side - 2 * evaluation.pixels.border < SSIM_WINDOW:
        key = "image_size" if dataset.info.image_size else "min_size"
        border = evaluation.pixels.border
        yield (
            f"datasets.{dataset.name}: a test image has {side} pixels a side, of which "
            f"evaluation.pixels.border = {border} are left out all round; SSIM needs "
            f"at least {SSIM_WINDOW}. Lower the border, or raise datasets.{dataset.name}.{key}."
        )


def _recipe_problems(params: Params, model: Model) -> Iterator[str]:
    """CAS trains the classifier's recipe on the generated images."""
    recipe = params.models.get(params.evaluation.classifier)
    if not isinstance(model, GanModel) or not isinstance(recipe, ClassificationModel):
        return
    if recipe.training.batch_size > params.evaluation.num_images:
        yield (
            f"evaluation.num_images = {params.evaluation.num_images} must be at least models."
            f"{params.evaluation.classifier}.training.batch_size = {recipe.training.batch_size}: "
            "that recipe is trained on the generated images. Raise it."
        )
