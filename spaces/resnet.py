"""The resnet family: fine-tuned torchvision networks, residual ones and VGG 16."""

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from spaces.domain import Choices, FloatDomain, FloatRange, IntDomain, Space, Suggester, ask

Arch: TypeAlias = Literal["resnet18", "resnet34", "resnet50", "resnet101", "vgg16"]
Stem: TypeAlias = Literal["imagenet", "half", "small"]
# The architectures that may begin in different ways.
STEMMED: tuple[Arch, ...] = ("resnet18", "resnet34", "resnet50", "resnet101")
Schedule: TypeAlias = Literal["cosine", "one_cycle"]
Stages: TypeAlias = Annotated[int, Field(ge=0, le=5)]
ImageSize: TypeAlias = Annotated[int, Field(ge=32, le=224)]


class ResnetConfig(BaseModel):
    """One fine-tuning of a residual network (He et al., CVPR 2016) or of VGG 16 (Simonyan and Zisserman, ICLR 2015).

    Attributes:
        arch: The torchvision architecture.
        stem: How a residual network begins: `imagenet` shrinks the image fourfold before the first residual stage,
            `half` twofold (no max-pooling), `small` not at all (stride 1 too), at about two and six times the cost
            (unused by vgg16).
        weights: Where the backbone starts: `none` (random), `imagenet` (torchvision's own), `faces` (pretrained on the
            training faces with their seven emotions, before the first trial) or the path of a file of weights
            (`.safetensors`, or `.pth` read without unpickling code).
        unfreeze: How many stages are trained, counted from the head: 0 the head only, 1 the last stage too, .. 5
            everything. The five of a residual network are its four residual stages and the stem, those of vgg16 its
            blocks of convolutions between poolings.
        epochs: Passes over the training images at full fidelity.
        batch_size: Images in one optimizer step.
        head_lr: Peak learning rate of the head.
        backbone_lr: Peak learning rate of the last unfrozen stage (unused when `unfreeze` is 0).
        stage_decay: Factor from the peak learning rate of a stage to that of the stage below it (Howard and Ruder,
            ACL 2018): the k-th stage below the head has backbone_lr * stage_decay**(k - 1).
        schedule: Course of the learning rates over the full budget: `cosine` or `one_cycle`.
        weight_decay: Decoupled weight decay (AdamW), not applied to norms and biases.
        dropout: Probability with which a pooled feature is dropped before the head.
        label_smoothing: Share of each label spread over all classes.
        augment: Strength of flips, shifts, rotation, scale, brightness and contrast: 0 none .. 1 strong.
        erasing: Probability with which a rectangle of an image is replaced by noise.
        mixup: Both parameters of the beta distribution of mixup's shares, 0 for no mixup.
        cutmix: The same for CutMix; with both, each batch is given to one of them by a coin.
        auxiliary: Weight in the loss of a second head that learns the seven emotions, 0 for no such head.
        ema: Decay per step of the moving average of weights that predicts, 0 to predict with the weights themselves.
        image_size: Side in pixels to which the 48 x 48 faces are resized.
        flip: Whether predicted probabilities are means over the image and its mirror image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["resnet"] = "resnet"
    arch: Arch = "resnet18"
    stem: Stem = "imagenet"
    weights: str = Field(default="none", min_length=1)
    unfreeze: Stages = 5
    epochs: int = Field(default=8, ge=1, le=1000)
    batch_size: int = Field(default=64, ge=2, le=4096)
    head_lr: float = Field(default=3e-3, gt=0, le=10)
    backbone_lr: float = Field(default=1e-3, gt=0, le=10)
    stage_decay: float = Field(default=1.0, gt=0, le=1)
    schedule: Schedule = "cosine"
    weight_decay: float = Field(default=1e-2, ge=0, le=10)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    augment: float = Field(default=0.5, ge=0, le=1)
    erasing: float = Field(default=0.0, ge=0, le=1)
    mixup: float = Field(default=0.0, ge=0, le=10)
    cutmix: float = Field(default=0.0, ge=0, le=10)
    auxiliary: float = Field(default=0.0, ge=0, le=10)
    ema: float = Field(default=0.0, ge=0, lt=1)
    image_size: ImageSize = 48
    flip: bool = False


# A training of random weights that does well on faces: how plans pretrain by default.
FROM_SCRATCH = ResnetConfig(
    epochs=12,
    batch_size=128,
    head_lr=2e-3,
    backbone_lr=2e-3,
    schedule="one_cycle",
    label_smoothing=0.1,
    augment=0.5,
    ema=0.995,
    image_size=64,
)


class ResnetSpace(Space):
    """Which fine-tunings may be tried.

    By default the remedies that cost time or need a long budget are off, and vgg16 is left out: it has no batch-norm,
    and without weights to start from it hardly learns.
    """

    config: ClassVar[type[BaseModel]] = ResnetConfig

    arch: Choices[Arch] = ("resnet18", "resnet34", "resnet50", "resnet101")
    stem: Choices[Stem] = ("imagenet",)
    weights: Choices[str] = ("none",)
    unfreeze: Choices[Stages] = (0, 1, 2, 3, 4, 5)
    epochs: IntDomain = (8,)
    batch_size: IntDomain = (32, 64, 128)
    head_lr: FloatDomain = FloatRange(low=1e-4, high=1e-2, log=True)
    backbone_lr: FloatDomain = FloatRange(low=1e-5, high=1e-2, log=True)
    stage_decay: FloatDomain = (1.0,)
    schedule: Choices[Schedule] = ("cosine",)
    weight_decay: FloatDomain = FloatRange(low=1e-4, high=1e-1, log=True)
    dropout: FloatDomain = FloatRange(low=0.0, high=0.5)
    label_smoothing: FloatDomain = FloatRange(low=0.0, high=0.2)
    augment: FloatDomain = FloatRange(low=0.0, high=1.0)
    erasing: FloatDomain = (0.0,)
    mixup: FloatDomain = (0.0,)
    cutmix: FloatDomain = (0.0,)
    auxiliary: FloatDomain = (0.0,)
    ema: FloatDomain = (0.0,)
    image_size: Choices[ImageSize] = (48, 64)
    flip: Choices[bool] = (False,)

    def suggest(self, trial: Suggester) -> ResnetConfig:
        """Ask `trial` for one config; only the parameters that the choices made so far use are asked for.

        A backbone of random weights is always trained as a whole: frozen random stages would only waste trials.
        """

        def asked(*names: str) -> dict[str, Any]:
            return {name: ask(trial, f"resnet.{name}", getattr(self, name)) for name in names}

        values = asked("arch", "weights")
        if values["weights"] == "none":
            values["unfreeze"] = 5
        else:
            values |= asked("unfreeze")
        if values["unfreeze"] > 0:
            values |= asked("backbone_lr")
        if values["unfreeze"] > 1:
            values |= asked("stage_decay")
        if values["arch"] in STEMMED:
            values |= asked("stem")
        values |= asked("epochs", "batch_size", "head_lr", "schedule", "weight_decay", "dropout", "label_smoothing")
        values |= asked("augment", "erasing", "mixup", "cutmix", "auxiliary", "ema", "image_size", "flip")
        return ResnetConfig(**values)
