"""What a plan says about data: where it comes from and the protocol that turns it into three classes."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

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


class CropSpec(BaseModel):
    """How the face is found in each picture, and what becomes of pictures in which none is.

    Attributes:
        detector: `haar`, the cascade that comes with OpenCV, or `yunet`, a network (see `crop.FaceDetector`).
        model: The path of YuNet's .onnx file, which is not shipped; `haar` has none.
        margin: Added on each side of the face's box, as a share of its side. The default did best of -0.1, -0.05, 0 and
            0.025 on FER2013's validation, with the boxes of `haar`; for `yunet` it has not been measured.
        missing: Where no face is found, `keep` the whole picture or `drop` it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: Literal["haar", "yunet"] = "haar"
    model: Annotated[str, Field(min_length=1)] | None = None
    margin: float = Field(default=-0.05, ge=-0.25, le=1.0)
    missing: Literal["keep", "drop"] = "keep"

    @model_validator(mode="after")
    def _model_of_yunet(self) -> "CropSpec":
        if self.detector == "yunet" and self.model is None:
            raise ValueError("the detector yunet needs `model`, the path of its .onnx file")
        if self.detector == "haar" and self.model is not None:
            raise ValueError(f"`model` is {self.model!r}, but the detector haar takes none; only yunet does")
        return self


class DataSpec(BaseModel):
    """The data of a search.

    Attributes:
        source: `demo` for the built-in faces, or the path or URL of a FER2013 csv file, parquet file or image folder;
            what is at a URL is fetched once per node.
        demo_images: How many faces `demo` draws, training and test together (unused by the other sources).
        crop: How every picture is cropped to its face when it is read, None (in a plan: `none`) to take it whole;
            `face` is short for the section's defaults.
        protocol: The three-class protocol.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(default="demo", min_length=1)
    demo_images: int = Field(default=8000, ge=700, le=200_000)
    crop: CropSpec | None = None
    protocol: ProtocolSpec = ProtocolSpec()

    @field_validator("crop", mode="before")
    @classmethod
    def _spelled_out(cls, value: Any) -> Any:
        if value == "none":
            return None
        if value == "face":
            return CropSpec()
        if not isinstance(value, (dict, CropSpec, type(None))):
            raise ValueError(
                f"received {value!r}; allowed are none, face, or a section of detector, model, margin and missing"
            )
        return value

    @property
    def drops_faceless(self) -> bool:
        """Whether pictures in which no face is found are dropped."""
        return self.crop is not None and self.crop.missing == "drop"
