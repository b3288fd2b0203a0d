"""What `benchmarks/learners.py` searches: one space for each row of its table, and what it is held against."""

from dataclasses import dataclass, field
from typing import Any, Literal

from spaces.features import FeatureConfig
from spaces.forest import ForestConfig
from spaces.svm import SvmConfig
from trainables.data.spec import DataSpec

PRETRAINING = {
    "arch": "resnet18",
    "epochs": 60,
    "batch_size": 128,
    "head_lr": 0.003,
    "backbone_lr": 0.003,
    "schedule": "one_cycle",
    "weight_decay": 0.05,
    "label_smoothing": 0.1,
    "augment": 0.6,
    "erasing": 0.2,
    "mixup": 0.2,
    "ema": 0.999,
    "image_size": 64,
}
EMBEDDING = {"kind": "embedding", "image_size": PRETRAINING["image_size"]}
HAND_MADE = {
    "kind": "hog+lbp",
    "hog_signed": True,
    "hog_cell": [6, 8],
    "lbp_cell": [8, 12],
    "contrast": "none",
    "whiten": False,
    "flip": True,
}
# Hand-made features gain by cropping (docs/log.md); with networks it was not tried, so they see whole pictures.
CROPPED = {"crop": "face"}


@dataclass(frozen=True)
class Row:
    """One line of the table: a search.

    Attributes:
        minutes: Budget of the search, pretraining not counted.
        space: What is searched.
        old: What the old project reached on test.
        aim: What is to be reached on test.
        is_pretrained: Whether it rests on `faces` weights.
        data: What the plan's `data` says besides the source.
    """

    minutes: float
    space: dict[str, Any]
    old: float | None
    aim: float
    is_pretrained: bool = False
    data: dict[str, Any] = field(default_factory=dict)

    def spec(self, source: str) -> DataSpec:
        return DataSpec(source=source, **self.data)


def svm_space(features: dict[str, Any], c: float, gamma: float) -> dict[str, Any]:
    """Machines with an rbf kernel whose C and gamma lie within a factor of five around those given."""
    return {
        "families": ["svm"],
        "svm": {
            "kernel": "rbf",
            "C": {"low": c / 5, "high": c * 5, "log": True},
            "gamma": {"low": gamma / 5, "high": gamma * 5, "log": True},
            "class_weight": "balanced",
            "features": features,
        },
    }


def forest_space(features: dict[str, Any]) -> dict[str, Any]:
    return {
        "families": ["forest"],
        "forest": {
            "trees": 270,
            "depth": {"low": 6, "high": 30, "log": True},
            "min_samples_leaf": {"low": 1, "high": 30, "log": True},
            "max_features": {"low": 0.05, "high": 0.5, "log": True},
            "class_weight": "balanced",
            "features": features,
        },
    }


ROWS = {
    "svm": Row(
        3,
        svm_space(HAND_MADE | {"pca": [256, 384], "discriminants": "none", "mirror": [False, True]}, 3.0, 1.0),
        0.557,
        0.71,
        data=CROPPED,
    ),
    "svm-embedding": Row(
        2,
        svm_space(
            EMBEDDING
            | {"pca": [0, 64], "whiten": False, "discriminants": ["none", "only"], "mirror": False, "flip": True},
            1.0,
            0.5,
        ),
        None,
        0.81,
        is_pretrained=True,
    ),
    "forest": Row(
        3,
        forest_space(HAND_MADE | {"pca": [256, 384], "discriminants": ["added", "only"], "mirror": False}),
        0.457,
        0.65,
        data=CROPPED,
    ),
    "forest-embedding": Row(
        2,
        forest_space(
            EMBEDDING | {"pca": 64, "whiten": False, "discriminants": ["added", "only"], "mirror": False, "flip": True}
        ),
        None,
        0.80,
        is_pretrained=True,
    ),
    "resnet": Row(
        10,
        {
            "families": ["resnet"],
            "resnet": {
                "arch": PRETRAINING["arch"],
                "weights": "faces",
                "unfreeze": [0, 1, 2, 5],
                "epochs": [2, 4],
                "batch_size": 128,
                "head_lr": {"low": 0.0003, "high": 0.01, "log": True},
                "backbone_lr": {"low": 0.00003, "high": 0.001, "log": True},
                "stage_decay": [0.5, 1.0],
                "weight_decay": 0.05,
                "dropout": [0.0, 0.3],
                "label_smoothing": 0.1,
                "augment": [0.3, 0.5],  # choices, not a range: trials share what frozen stages make of the variations
                "ema": 0.99,
                "image_size": PRETRAINING["image_size"],
                "flip": True,
            },
        },
        0.35,
        0.82,
        is_pretrained=True,
    ),
}

# Simple configs, and the training images of each class that they are trained on.
REFERENCES: dict[str, tuple[SvmConfig | ForestConfig, int | Literal["none"]]] = {
    "HOG + rbf, 2,400 faces a class": (SvmConfig(C=3.0), 2400),
    "the same, mirrored": (SvmConfig(C=3.0, features=FeatureConfig(mirror=True)), 2400),
    "HOG + rbf, all faces": (SvmConfig(C=3.0), "none"),
    "HOG, 300 trees, 2,400 faces a class": (ForestConfig(trees=300, depth=200, max_features=0.033), 2400),
    "embeddings + rbf, 2,400 faces a class": (SvmConfig(C=1.0, features=FeatureConfig(**EMBEDDING)), 2400),
    "embeddings, 300 trees, 2,400 faces a class": (ForestConfig(trees=300, features=FeatureConfig(**EMBEDDING)), 2400),
}
