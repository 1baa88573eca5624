"""What metrics are called, and which direction is better.

For the gate, the tables and the arrows in the report.
"""

from __future__ import annotations

from atelier.errors import EvaluationError

HIGHER_IS_BETTER: dict[str, bool] = {
    "accuracy": True,
    "cas": True,  # accuracy on real images of a classifier that was trained on generated ones
    "class_accuracy": True,
    "class_balance": True,
    "coverage": True,
    "density": True,  # above 1 too: what is generated then keeps to where real images are densest
    "fd": False,
    "fid": False,
    "is": True,
    "kid": False,
    "lpips": False,
    "macro_f1": True,
    "macro_recall": True,
    "memorisation": False,
    "ms_ssim": True,
    "mse": False,
    "precision": True,
    "psnr": True,
    "rarest_class": True,
    "recall": True,
    "ssim": True,
}


def score_name(metric: str, extractor: str) -> str:
    """What a score is called: its metric and extractor; FID only with the weights it stands for."""
    return "fid" if (metric, extractor) == ("fd", "inception") else f"{metric}_{extractor}"


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better.

    Args:
        metric: a name of `HIGHER_IS_BETTER`, or one of them with a suffix: what it was computed on
            (`kid_classifier`, `accuracy_degraded`), or a difference of new minus old, which keeps
            its direction (`psnr_gain`).

    Returns:
        True if more is better, False if less is.

    Raises:
        EvaluationError: if no known name is the metric's beginning.
    """
    name = metric
    while name:
        if name in HIGHER_IS_BETTER:
            return HIGHER_IS_BETTER[name]
        name = name.rpartition("_")[0]
    raise EvaluationError(
        f"metric = {metric!r} is not one of {sorted(HIGHER_IS_BETTER)}, nor one of these with a "
        "suffix such as "
        "'kid_classifier' or 'psnr_gain'. Fix the name, or add it to HIGHER_IS_BETTER in "
        "atelier/metrics/directions.py."
    )
