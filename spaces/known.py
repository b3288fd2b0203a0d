"""Configs that did well on faces before, with which a search begins.

But for one they won searches of FER2013 by validation, as `docs/log.md` has them under "The learners, searched"
(2026-11-25). Networks from random weights were not searched there: theirs is how plans pretrain by default.
"""

import math
from collections.abc import Iterator
from typing import Any

from spaces.family import Family
from spaces.features import FeatureConfig
from spaces.forest import ForestConfig
from spaces.joint import JointSpace
from spaces.points import parameters
from spaces.resnet import FROM_SCRATCH, ResnetConfig
from spaces.svm import SvmConfig

_FINE_TUNED = ResnetConfig(
    weights="faces",
    unfreeze=0,
    epochs=2,
    batch_size=128,
    head_lr=1.9e-3,
    weight_decay=0.05,
    label_smoothing=0.1,
    augment=0.3,
    ema=0.99,
    image_size=64,
    flip=True,
)
_FROM_SCRATCH = FROM_SCRATCH.model_copy(update={"flip": True})
_EMBEDDING = FeatureConfig(kind="embedding", flip=True)
_HANDMADE = FeatureConfig(kind="hog+lbp", hog_signed=True, lbp_cell=12, pca=384, mirror=True, flip=True)

# The dearest family first: its trial takes longest, and the others run beside it.
KNOWN: dict[Family, tuple[SvmConfig | ForestConfig | ResnetConfig, ...]] = {
    Family.RESNET: (_FINE_TUNED, _FROM_SCRATCH),
    Family.SVM: (
        SvmConfig(C=0.77, gamma=0.68, features=_EMBEDDING),
        SvmConfig(C=7.7, gamma=1.1, features=_HANDMADE),
    ),
    Family.FOREST: (
        ForestConfig(
            depth=14,
            min_samples_leaf=9,
            max_features=0.2,
            features=_EMBEDDING.model_copy(update={"pca": 64, "discriminants": "added"}),
        ),
        ForestConfig(
            depth=30,
            max_features=0.08,
            criterion="entropy",
            features=_HANDMADE.model_copy(update={"lbp_cell": 8, "discriminants": "only", "mirror": False}),
        ),
    ),
}


def known_points(space: JointSpace) -> Iterator[SvmConfig | ForestConfig | ResnetConfig]:
    """A config for each family of `space`, as near to one that is known to be good as the space allows.

    Of networks from weights that are neither `none` nor `faces` nothing is known.
    """
    for family, configs in KNOWN.items():
        usable = [config for config in configs if family in space.families and _has(space, config)]
        if usable:
            yield space.suggest(_Nearest(parameters(usable[0])))


def _has(space: JointSpace, config: SvmConfig | ForestConfig | ResnetConfig) -> bool:
    """Whether `space` has what `config` rests on: its weights, or a descriptor of its features."""
    if isinstance(config, ResnetConfig):
        return config.weights in space.resnet.weights
    searched = space.svm if isinstance(config, SvmConfig) else space.forest
    return any(set(kind.split("+")) & set(config.features.descriptors) for kind in searched.features.kind)


class _Nearest:
    """Answers a space with the parameters of a config, or what the space has nearest to them."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        value = self._values[name]
        if value in choices:
            return value
        if isinstance(value, str):  # of descriptors, those that have most in common
            return max(choices, key=lambda choice: len(set(choice.split("+")) & set(value.split("+"))))
        if min(value, *choices) > 0:
            return min(choices, key=lambda choice: abs(math.log(choice / value)))
        return min(choices, key=lambda choice: abs(choice - value))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(min(max(self._values[name], low), high))

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return int(min(max(self._values[name], low), high))
