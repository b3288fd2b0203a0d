"""What a plan says about data: where it comes from and the protocol that turns it into three classes."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainables.data.faceset import CLASSES, EMOTIONS

Share = Annotated[float, Field(gt=0.0, lt=0.9)]


class ProtocolSpec(BaseModel):
    """How the seven emotions of a source become three classes, and how its training images are split.

    Attributes:
        negative: Emotions that become the class negative; likewise `neutral` and `positive`. Others are dropped.
        blank_std: An image whose pixel standard deviation (gray levels) is below this is blank and dropped.
        validation: Share of the usable training images drawn for validation, stratified by emotion.
        balance: Training images of each class, or `none` for all of them (learners then weigh the classes).
        seed: Fixes the split.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    negative: Annotated[tuple[str, ...], Field(min_length=1)] = ("angry", "disgust", "sad")
    neutral: Annotated[tuple[str, ...], Field(min_length=1)] = ("neutral",)
    positive: Annotated[tuple[str, ...], Field(min_length=1)] = ("happy",)
    blank_std: float = Field(default=10.0, ge=0)
    validation: Share = 0.2
    balance: Annotated[int, Field(ge=10)] | Literal["none"] = "none"
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _emotions_once(self) -> "ProtocolSpec":
        seen: set[str] = set()
        for name in CLASSES:
            for emotion in getattr(self, name):
                if emotion not in EMOTIONS:
                    raise ValueError(f"{name} names {emotion!r}; allowed are {', '.join(EMOTIONS)}")
                if emotion in seen:
                    raise ValueError(f"{emotion!r} is named twice; an emotion belongs to one class at most")
                seen.add(emotion)
        return self


class DataSpec(BaseModel):
    """The data of a search.

    Attributes:
        source: `demo` for the built-in faces, or the path of a FER2013 csv file, parquet file or image folder.
        demo_images: How many faces `demo` draws, training and test together (unused by the other sources).
        protocol: The three-class protocol.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(default="demo", min_length=1)
    demo_images: int = Field(default=8000, ge=700, le=200_000)
    protocol: ProtocolSpec = ProtocolSpec()
