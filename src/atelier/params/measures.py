"""What an evaluation of each kind of model measures; a test compares it with what they return."""

from __future__ import annotations

# Of a classifier on the same test images: clean, degraded, restored.
_SEEN = [
    "accuracy_clean",
    "accuracy_degraded",
    "accuracy_restored",
    "macro_recall_clean",
    "macro_recall_degraded",
    "macro_recall_restored",
    "macro_f1_clean",
    "macro_f1_degraded",
    "macro_f1_restored",
    "accuracy_gain",
]
# ms_ssim: of images that are large enough; lpips: where its weights are given.
_PIXELS = ["mse", "psnr", "ssim", "ms_ssim", "lpips", "psnr_gain"]
_CLASSES = ["is_classifier", "class_balance", "rarest_class", "class_accuracy", "cas"]
_DISTANCES = ("fd", "kid", "precision", "recall", "density", "coverage")


def distances(extractor: str) -> list[str]:
    """Scores of how two sets of images differ; the first is the Frechet distance."""
    if not extractor:
        return []
    names = [f"{metric}_{extractor}" for metric in _DISTANCES]
    return ["fid", *names[1:]] if extractor == "inception" else names


def metrics(kind: str, extractor: str) -> list[str]:
    """What an evaluation of a kind of model can measure with an extractor.

    Without one its name is empty.
    """
    knows_classes = extractor == "classifier"
    if kind == "classification":
        return ["accuracy", "macro_recall", "macro_f1"]
    if kind == "gan":
        names = distances(extractor)
        if extractor:
            names.append("memorisation")
        return [*names, *_CLASSES] if knows_classes else names
    names = [*_PIXELS, *_SEEN] if knows_classes else [*_PIXELS]
    return [*names, *distances(extractor)] if kind == "translation" else names
