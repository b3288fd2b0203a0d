"""The resnet family: fine-tuned torchvision residual networks."""

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from spaces.domain import Choices, FloatDomain, FloatRange, IntDomain, Space, Suggester, ask

Arch: TypeAlias = Literal["resnet18", "resnet34", "resnet50", "resnet101"]
Stages: TypeAlias = Annotated[int, Field(ge=0, le=5)]
ImageSize: TypeAlias = Annotated[int, Field(ge=32, le=224)]


class ResnetConfig(BaseModel):
    """One fine-tuning of a residual network (He et al., CVPR 2016).

    Attributes:
        arch: The torchvision architecture.
        weights: Where the backbone starts: `none` (random), `imagenet` (torchvision's own) or the path of a file of
            weights (`.safetensors`, or `.pth` read without unpickling code).
        unfreeze: How many stages are trained, counted from the head: 0 the head only, 1 the last residual stage too,
            .. 4 all residual stages, 5 everything with the stem.
        epochs: Passes over the training images at full fidelity.
        batch_size: Images in one optimizer step.
        head_lr: Peak learning rate of the head.
        backbone_lr: Peak learning rate of the unfrozen stages (unused when `unfreeze` is 0).
        weight_decay: Decoupled weight decay (AdamW), not applied to norms and biases.
        dropout: Probability with which a pooled feature is dropped before the head.
        label_smoothing: Share of each label spread over all classes.
        augment: Strength of flips, shifts, rotation, scale, brightness and contrast: 0 none .. 1 strong.
        image_size: Side in pixels to which the 48 x 48 faces are resized.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["resnet"] = "resnet"
    arch: Arch = "resnet18"
    weights: str = Field(default="none", min_length=1)
    unfreeze: Stages = 5
    epochs: int = Field(default=8, ge=1, le=1000)
    batch_size: int = Field(default=64, ge=2, le=4096)
    head_lr: float = Field(default=3e-3, gt=0, le=10)
    backbone_lr: float = Field(default=1e-3, gt=0, le=10)
    weight_decay: float = Field(default=1e-2, ge=0, le=10)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    augment: float = Field(default=0.5, ge=0, le=1)
    image_size: ImageSize = 48


class ResnetSpace(Space):
    """Which fine-tunings may be tried."""

    config: ClassVar[type[BaseModel]] = ResnetConfig

    arch: Choices[Arch] = ("resnet18", "resnet34", "resnet50", "resnet101")
    weights: Choices[str] = ("none",)
    unfreeze: Choices[Stages] = (0, 1, 2, 3, 4, 5)
    epochs: IntDomain = (8,)
    batch_size: IntDomain = (32, 64, 128)
    head_lr: FloatDomain = FloatRange(low=1e-4, high=1e-2, log=True)
    backbone_lr: FloatDomain = FloatRange(low=1e-5, high=1e-2, log=True)
    weight_decay: FloatDomain = FloatRange(low=1e-4, high=1e-1, log=True)
    dropout: FloatDomain = FloatRange(low=0.0, high=0.5)
    label_smoothing: FloatDomain = FloatRange(low=0.0, high=0.2)
    augment: FloatDomain = FloatRange(low=0.0, high=1.0)
    image_size: Choices[ImageSize] = (48, 64)

    def suggest(self, trial: Suggester) -> ResnetConfig:
        """Ask `trial` for one config.

        A backbone of random weights is always trained as a whole: frozen random stages would only waste trials.
        """
        arch = ask(trial, "resnet.arch", self.arch)
        weights = ask(trial, "resnet.weights", self.weights)
        unfreeze = 5 if weights == "none" else ask(trial, "resnet.unfreeze", self.unfreeze)
        values = {"backbone_lr": ask(trial, "resnet.backbone_lr", self.backbone_lr)} if unfreeze else {}
        return ResnetConfig(
            arch=arch,
            weights=weights,
            unfreeze=unfreeze,
            epochs=ask(trial, "resnet.epochs", self.epochs),
            batch_size=ask(trial, "resnet.batch_size", self.batch_size),
            head_lr=ask(trial, "resnet.head_lr", self.head_lr),
            weight_decay=ask(trial, "resnet.weight_decay", self.weight_decay),
            dropout=ask(trial, "resnet.dropout", self.dropout),
            label_smoothing=ask(trial, "resnet.label_smoothing", self.label_smoothing),
            augment=ask(trial, "resnet.augment", self.augment),
            image_size=ask(trial, "resnet.image_size", self.image_size),
            **values,
        )
