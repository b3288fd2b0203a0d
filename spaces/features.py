"""Hand-made features: what svm and forest see instead of raw images."""

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

from spaces.domain import Choices, Space, Suggester, ask
from spaces.resnet import Arch, ImageSize, Stem

FeatureKind: TypeAlias = Literal["pixels", "hog", "lbp", "hog+lbp", "embedding"]
Cell: TypeAlias = Literal[6, 8, 12]
Contrast: TypeAlias = Literal["none", "clahe", "standardize"]
ClassWeight: TypeAlias = Literal["balanced", "none"]
Shift: TypeAlias = Literal[0, 1, 2]

# The parameters of each descriptor; a kind is the names of one or more descriptors, joined by "+".
DESCRIPTORS: dict[str, tuple[str, ...]] = {
    "pixels": ("contrast",),
    "hog": ("contrast", "hog_cell", "hog_signed"),
    "lbp": ("contrast", "lbp_cell"),
    "embedding": ("backbone", "stem", "weights", "image_size"),
}
# How many pooled features each architecture gives.
EMBEDDED: dict[Arch, int] = {"resnet18": 512, "resnet34": 512, "resnet50": 2048, "resnet101": 2048, "vgg16": 512}


class FeatureConfig(BaseModel):
    """One way to turn a 48 x 48 face into a vector.

    Attributes:
        kind: `pixels` (2,304 values), `hog`, histograms of oriented gradients (Dalal and Triggs, CVPR 2005), `lbp`,
            histograms of uniform local binary patterns (Ojala et al., PAMI 2002), or one after the other; or
            `embedding`, the pooled features of a frozen network.
        hog_cell: Side of a HOG cell in pixels (unused without hog).
        hog_signed: Whether HOG tells a gradient from its opposite (unused without hog).
        lbp_cell: Side of an LBP cell in pixels (unused without lbp).
        backbone: The architecture of the network (unused without embedding).
        stem: How it begins, as in `ResnetConfig` (unused without embedding).
        weights: Its weights, as in `ResnetConfig`, but not `none` (unused without embedding).
        image_size: Side in pixels to which faces are resized for it (unused without embedding).
        contrast: What is done to an image before it is described (unused with embedding): nothing, contrast-limited
            adaptive histogram equalization (Zuiderveld, Graphics Gems IV, 1994), or the same mean and standard
            deviation for every image.
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
    backbone: Arch = "resnet18"
    stem: Stem = "imagenet"
    weights: str = Field(default="faces", min_length=1)
    image_size: ImageSize = 64
    contrast: Contrast = "none"
    pca: int = Field(default=0, ge=0, le=1024)
    whiten: bool = False
    mirror: bool = False
    shift: Shift = 0
    flip: bool = False

    @field_validator("weights")
    @classmethod
    def _learned(cls, weights: str) -> str:
        if weights == "none":
            raise ValueError("embeddings of random weights tell little; allowed are faces, imagenet or a file")
        return weights

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
    backbone: Choices[Arch] = ("resnet18",)
    stem: Choices[Stem] = ("imagenet",)
    weights: Choices[str] = ("faces",)
    image_size: Choices[ImageSize] = (64,)
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
        names = [name for descriptor in FeatureConfig(**values).descriptors for name in DESCRIPTORS[descriptor]]
        values |= {name: asked(name) for name in dict.fromkeys([*names, "pca", "mirror", "shift", "flip"])}
        if values["pca"]:
            values["whiten"] = asked("whiten")
        return FeatureConfig(**values)
