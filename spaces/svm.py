"""The svm family: support vector classification on hand-made features."""

from typing import ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from spaces.domain import Choices, FloatDomain, FloatRange, IntDomain, Space, Suggester, ask
from spaces.features import ClassWeight, FeatureConfig, FeatureSpace

Kernel: TypeAlias = Literal["linear", "rbf", "poly", "sigmoid"]


class SvmConfig(BaseModel):
    """One support vector machine.

    Attributes:
        kernel: The kernel; K(x, z) as in scikit-learn's `SVC`.
        C: Penalty of a margin violation; vectors have a mean squared length of 1, so C means the same for all of them.
        gamma: Kernel width in units of scikit-learn's "scale", 1 / (n_features * variance): 1.0 is that default
            (unused by linear).
        degree: Degree of the polynomial kernel (unused by the others).
        coef0: Independent term of the poly and sigmoid kernels (unused by the others).
        class_weight: Whether every class weighs the same, or every image. Probabilities are calibrated for balanced
            classes either way.
        features: What the machine sees.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["svm"] = "svm"
    kernel: Kernel = "rbf"
    C: float = Field(default=3.0, gt=0, le=1e6)
    gamma: float = Field(default=1.0, gt=0, le=1e4)
    degree: int = Field(default=3, ge=1, le=6)
    coef0: float = Field(default=0.0, ge=-10, le=10)
    class_weight: ClassWeight = "balanced"
    features: FeatureConfig = FeatureConfig()


class SvmSpace(Space):
    """Which support vector machines may be tried."""

    config: ClassVar[type[BaseModel]] = SvmConfig

    kernel: Choices[Kernel] = ("linear", "rbf", "poly", "sigmoid")
    C: FloatDomain = FloatRange(low=0.03, high=100.0, log=True)
    gamma: FloatDomain = FloatRange(low=0.1, high=10.0, log=True)
    degree: IntDomain = (2, 3)
    coef0: FloatDomain = FloatRange(low=0.0, high=2.0)
    class_weight: Choices[ClassWeight] = ("balanced", "none")
    features: FeatureSpace = FeatureSpace()

    def suggest(self, trial: Suggester) -> SvmConfig:
        """Ask `trial` for one config; only the parameters the chosen kernel uses are asked for."""
        kernel = ask(trial, "svm.kernel", self.kernel)
        values = {"C": ask(trial, "svm.C", self.C)}
        if kernel != "linear":
            values["gamma"] = ask(trial, "svm.gamma", self.gamma)
        if kernel == "poly":
            values["degree"] = ask(trial, "svm.degree", self.degree)
        if kernel in ("poly", "sigmoid"):
            values["coef0"] = ask(trial, "svm.coef0", self.coef0)
        values["class_weight"] = ask(trial, "svm.class_weight", self.class_weight)
        return SvmConfig(kernel=kernel, features=self.features.suggest(trial, "svm.features"), **values)
