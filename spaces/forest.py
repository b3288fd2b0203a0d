"""The forest family: random forests on hand-made features."""

from typing import ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from spaces.domain import Choices, FloatDomain, FloatRange, IntDomain, IntRange, Space, Suggester, ask
from spaces.features import ClassWeight, FeatureConfig, FeatureSpace

Criterion: TypeAlias = Literal["gini", "entropy"]


class ForestConfig(BaseModel):
    """One random forest (Breiman, "Random Forests", 2001).

    Attributes:
        trees: Number of trees at full fidelity.
        depth: Greatest depth of a tree.
        min_samples_leaf: Fewest training images in a leaf.
        max_features: Share of the features tried at each split.
        criterion: Impurity that a split lowers.
        class_weight: Whether every class weighs the same, or every image.
        features: What the forest sees.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["forest"] = "forest"
    trees: int = Field(default=270, ge=1, le=10_000)
    depth: int = Field(default=20, ge=1, le=200)
    min_samples_leaf: int = Field(default=1, ge=1, le=1000)
    max_features: float = Field(default=0.05, gt=0, le=1)
    criterion: Criterion = "gini"
    class_weight: ClassWeight = "balanced"
    features: FeatureConfig = FeatureConfig()


class ForestSpace(Space):
    """Which forests may be tried."""

    config: ClassVar[type[BaseModel]] = ForestConfig

    trees: IntDomain = (270,)
    depth: IntDomain = IntRange(low=4, high=40, log=True)
    min_samples_leaf: IntDomain = IntRange(low=1, high=20, log=True)
    max_features: FloatDomain = FloatRange(low=0.01, high=0.3, log=True)
    criterion: Choices[Criterion] = ("gini", "entropy")
    class_weight: Choices[ClassWeight] = ("balanced", "none")
    features: FeatureSpace = FeatureSpace()

    def suggest(self, trial: Suggester) -> ForestConfig:
        """Ask `trial` for one config."""
        return ForestConfig(
            trees=ask(trial, "forest.trees", self.trees),
            depth=ask(trial, "forest.depth", self.depth),
            min_samples_leaf=ask(trial, "forest.min_samples_leaf", self.min_samples_leaf),
            max_features=ask(trial, "forest.max_features", self.max_features),
            criterion=ask(trial, "forest.criterion", self.criterion),
            class_weight=ask(trial, "forest.class_weight", self.class_weight),
            features=self.features.suggest(trial, "forest.features"),
        )
