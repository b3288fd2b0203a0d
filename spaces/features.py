"""Hand-made features: what svm and forest see instead of raw images."""

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from spaces.domain import Choices, Space, Suggester, ask

FeatureKind: TypeAlias = Literal["pixels", "hog", "lbp", "hog+lbp"]
Cell: TypeAlias = Literal[6, 8, 12]
Contrast: TypeAlias = Literal["none", "clahe", "standardize"]
ClassWeight: TypeAlias = Literal["balanced", "none"]
Shift: TypeAlias = Literal[0, 1, 2]

# The parameters of each descriptor; a kind is the names of one or more descriptors, joined by "+".
DESCRIPTORS: dict[str, tuple[str, ...]] = {"pixels": (), "hog": ("hog_cell", "hog_signed"), "lbp": ("lbp_cell",)}


class FeatureConfig(BaseModel):
    """One way to turn a 48 x 48 face into a vector.

    Attributes:
        kind: `pixels` (2,304 values), `hog`, histograms of oriented gradients (Dalal and Triggs, CVPR 2005), `lbp`,
            histograms of uniform local binary patterns (Ojala et al., PAMI 2002), or one after the other.
        hog_cell: Side of a HOG cell in pixels (unused without hog).
        hog_signed: Whether HOG tells a gradient from its opposite (unused without hog).
        lbp_cell: Side of an LBP cell in pixels (unused without lbp).
        contrast: What is done to an image before it is described: nothing, contrast-limited adaptive histogram
            equalization (Zuiderveld, Graphics Gems IV, 1994), or the same mean and standard deviation for every image.
        pca: Number of principal components kept, 0 for no PCA.
        whiten: Whether the components are scaled to equal variance (unused without PCA).
        mirror: Whether mirrored copies of the training images are added.
        shift: Whether copies of the training images (mirrored ones too) are added that are shifted along a diagonal,
            and by how many pixels each way; 0 for none.
        flip: Whether a prediction is the mean of those for the image and for its mirror image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FeatureKind = "hog"
    hog_cell: Cell = 8
    hog_signed: bool = False
    lbp_cell: Cell = 8
    contrast: Contrast = "none"
    pca: int = Field(default=0, ge=0, le=1024)
    whiten: bool = False
    mirror: bool = False
    shift: Shift = 0
    flip: bool = False

    @property
    def descriptors(self) -> list[str]:
        """The names of the descriptors that `kind` puts one after the other."""
        return self.kind.split("+")


class FeatureSpace(Space):
    """Which features may be tried."""

    config: ClassVar[type[BaseModel]] = FeatureConfig

    kind: Choices[FeatureKind] = ("pixels", "hog", "lbp", "hog+lbp")
    hog_cell: Choices[Cell] = (6, 8, 12)
    hog_signed: Choices[bool] = (False, True)
    lbp_cell: Choices[Cell] = (6, 8, 12)
    contrast: Choices[Contrast] = ("none", "clahe", "standardize")
    pca: Choices[Annotated[int, Field(ge=0, le=1024)]] = (0, 128, 256)
    whiten: Choices[bool] = (False, True)
    mirror: Choices[bool] = (False, True)
    shift: Choices[Shift] = (0,)
    flip: Choices[bool] = (False, True)

    def suggest(self, trial: Suggester, prefix: str) -> FeatureConfig:
        """Ask `trial` for one feature config, without what its kind leaves unused; names start with `prefix`."""

        def asked(name: str) -> Any:
            return ask(trial, f"{prefix}.{name}", getattr(self, name))

        values = {"kind": asked("kind")}
        for descriptor in FeatureConfig(**values).descriptors:
            values |= {name: asked(name) for name in DESCRIPTORS[descriptor]}
        values |= {name: asked(name) for name in ("contrast", "pca", "mirror", "shift", "flip")}
        if values["pca"]:
            values["whiten"] = asked("whiten")
        return FeatureConfig(**values)
