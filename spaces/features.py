"""Hand-made features: what svm and forest see instead of raw images."""

from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from spaces.backbones import LEAST_SIDE, WIDTHS
from spaces.domain import Choices, Space, Suggester, ask
from spaces.resnet import STEMMED, ImageSize, Stem

FeatureKind: TypeAlias = Literal["pixels", "hog", "lbp", "hog+lbp", "embedding"]
Cell: TypeAlias = Literal[6, 8, 12]
Contrast: TypeAlias = Literal["none", "clahe", "standardize"]
Discriminants: TypeAlias = Literal["none", "added", "only"]
ClassWeight: TypeAlias = Literal["balanced", "none"]
Shift: TypeAlias = Literal[0, 1, 2]

# The parameters of each descriptor; a kind is the names of one or more descriptors, joined by "+".
DESCRIPTORS: dict[str, tuple[str, ...]] = {
    "pixels": ("contrast",),
    "hog": ("contrast", "hog_cell", "hog_signed"),
    "lbp": ("contrast", "lbp_cell"),
    "embedding": ("backbone", "stem", "weights", "image_size"),
}


def _known(backbone: str) -> str:
    if backbone not in WIDTHS:
        raise ValueError(f"allowed are {', '.join(WIDTHS)}")
    return backbone


Backbone: TypeAlias = Annotated[str, AfterValidator(_known)]


def check_side(backbone: str, side: int) -> None:
    """Make sure that `backbone` takes images of `side` pixels.

    Raises:
        ValueError: If they are too small.
    """
    least = LEAST_SIDE.get(backbone, 0)
    if side < least:
        raise ValueError(f"image_size: {backbone} takes images of {least} pixels or more; received {side}")


class FeatureConfig(BaseModel):
    """One way to turn a 48 x 48 face into a vector.

    Attributes:
        kind: `pixels` (2,304 values), `hog`, histograms of oriented gradients (Dalal and Triggs, CVPR 2005), `lbp`,
            histograms of uniform local binary patterns (Ojala et al., PAMI 2002), or one after the other; or
            `embedding`, the pooled features of a frozen network.
        hog_cell: Side of a HOG cell in pixels (unused without hog).
        hog_signed: Whether HOG tells a gradient from its opposite (unused without hog).
        lbp_cell: Side of an LBP cell in pixels (unused without lbp).
        backbone: The network, by its name in `WIDTHS` (unused without embedding).
        stem: How a residual network begins, as in `ResnetConfig` (unused without embedding).
        weights: Its weights, as in `ResnetConfig`, but not `none` (unused without embedding).
        image_size: Side in pixels to which faces are resized for it (unused without embedding).
        contrast: What is done to an image before it is described (unused with embedding): nothing, contrast-limited
            adaptive histogram equalization (Zuiderveld, Graphics Gems IV, 1994), or the same mean and standard
            deviation for every image.
        pca: Number of principal components kept, 0 for no PCA.
        whiten: Whether the components are scaled to equal variance (unused without PCA).
        discriminants: Whether linear discriminants (Fisher, Annals of Eugenics, 1936), the directions in which the
            emotions of the training images stand farthest apart, are added to the principal components or replace
            them (unused without PCA).
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
    backbone: Backbone = "resnet18"
    stem: Stem = "imagenet"
    weights: str = Field(default="faces", min_length=1)
    image_size: ImageSize = 64
    contrast: Contrast = "none"
    pca: int = Field(default=0, ge=0, le=1024)
    whiten: bool = False
    discriminants: Discriminants = "none"
    mirror: bool = False
    shift: Shift = 0
    flip: bool = False

    @field_validator("weights")
    @classmethod
    def _learned(cls, weights: str) -> str:
        if weights == "none":
            raise ValueError("embeddings of random weights tell little; allowed are faces, imagenet or a file")
        return weights

    @model_validator(mode="after")
    def _large_enough(self) -> Self:
        if self.kind == "embedding":
            check_side(self.backbone, self.image_size)
        if self.kind == "embedding" and self.stem != "imagenet" and self.backbone not in STEMMED:
            raise ValueError(f"{self.backbone} begins in one way; stem must be imagenet, received {self.stem}")
        return self

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
    backbone: Choices[Backbone] = ("resnet18",)
    stem: Choices[Stem] = ("imagenet",)
    weights: Choices[str] = ("faces",)
    image_size: Choices[ImageSize] = (64,)
    contrast: Choices[Contrast] = ("none", "clahe", "standardize")
    pca: Choices[Annotated[int, Field(ge=0, le=1024)]] = (0, 128, 256)
    whiten: Choices[bool] = (False, True)
    discriminants: Choices[Discriminants] = ("none", "added", "only")
    mirror: Choices[bool] = (False, True)
    shift: Choices[Shift] = (0,)
    flip: Choices[bool] = (False, True)

    @model_validator(mode="after")
    def _large_enough(self) -> Self:
        for backbone in self.backbone if "embedding" in self.kind else ():
            check_side(backbone, min(self.image_size))
        return self

    def suggest(self, trial: Suggester, prefix: str) -> FeatureConfig:
        """Ask `trial` for one feature config, without what its kind leaves unused; names start with `prefix`."""

        def asked(name: str) -> Any:
            return ask(trial, f"{prefix}.{name}", getattr(self, name))

        values = {"kind": asked("kind")}
        names = [name for descriptor in FeatureConfig(**values).descriptors for name in DESCRIPTORS[descriptor]]
        for name in dict.fromkeys([*names, "pca", "mirror", "shift", "flip"]):
            if name != "stem" or values["backbone"] in STEMMED:
                values[name] = asked(name)
        if values["pca"]:
            values |= {name: asked(name) for name in ("whiten", "discriminants")}
        return FeatureConfig(**values)
