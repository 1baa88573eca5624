"""params.yaml as frozen, strict, typed records. `load_params` is the only way in."""

from atelier.params.datasets import Dataset, Source
from atelier.params.loading import load_params
from atelier.params.models import (
    Augment,
    ClassificationModel,
    CnnClassifierNetwork,
    CnnRestorerNetwork,
    CrnnRestorerNetwork,
    DcganDiscriminatorNetwork,
    DcganGeneratorNetwork,
    Degradation,
    Downsample,
    Evaluation,
    GanModel,
    Gate,
    Mask,
    Model,
    Noise,
    Params,
    Promotion,
    RestorationModel,
    Training,
    TrainingData,
)
from atelier.params.record import Record

__all__ = [
    "Augment",
    "ClassificationModel",
    "CnnClassifierNetwork",
    "CnnRestorerNetwork",
    "CrnnRestorerNetwork",
    "Dataset",
    "DcganDiscriminatorNetwork",
    "DcganGeneratorNetwork",
    "Degradation",
    "Downsample",
    "Evaluation",
    "GanModel",
    "Gate",
    "Mask",
    "Model",
    "Noise",
    "Params",
    "Promotion",
    "Record",
    "RestorationModel",
    "Source",
    "Training",
    "TrainingData",
    "load_params",
]
