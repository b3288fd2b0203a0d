"""Hand-made features: what svm and forest see instead of raw images."""

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from spaces.domain import Choices, Space, Suggester, ask

FeatureKind: TypeAlias = Literal["pixels", "hog"]
HogCell: TypeAlias = Literal[6, 8, 12]


class FeatureConfig(BaseModel):
    """One way to turn a 48 x 48 face into a vector.

    Attributes:
        kind: `pixels` (2,304 values) or `hog`, histograms of oriented gradients (Dalal and Triggs, CVPR 2005).
        hog_cell: Side of a HOG cell in pixels (unused for pixels).
        pca: Number of principal components kept, 0 for no PCA.
        mirror: Whether mirrored copies of the training images are added.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FeatureKind = "hog"
    hog_cell: HogCell = 8
    pca: int = Field(default=0, ge=0, le=1024)
    mirror: bool = False


class FeatureSpace(Space):
    """Which features may be tried."""

    config: ClassVar[type[BaseModel]] = FeatureConfig

    kind: Choices[FeatureKind] = ("pixels", "hog")
    hog_cell: Choices[HogCell] = (6, 8, 12)
    pca: Choices[Annotated[int, Field(ge=0, le=1024)]] = (0, 128, 256)
    mirror: Choices[bool] = (False, True)

    def suggest(self, trial: Suggester, prefix: str) -> FeatureConfig:
        """Ask `trial` for one feature config; parameter names start with `prefix`."""
        kind = ask(trial, f"{prefix}.kind", self.kind)
        return FeatureConfig(
            kind=kind,
            hog_cell=ask(trial, f"{prefix}.hog_cell", self.hog_cell) if kind == "hog" else 8,
            pca=ask(trial, f"{prefix}.pca", self.pca),
            mirror=ask(trial, f"{prefix}.mirror", self.mirror),
        )
