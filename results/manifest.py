"""The manifest of an artifact: what it is, and the hash of everything beside it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from results.readings import Figures
from results.statistics import Interval
from spaces.family import Family
from trainables.data.faceset import SIDE
from trainables.data.spec import DataSpec

FORMAT = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(_Part):
    """What the model expects of an image: its height and width, its pixels, and how the face lies in it."""

    side: int = SIDE
    pixels: str = "gray, uint8"
    face: str = "upright and frontal, alone in the image and filling it; `fertune predict` finds and crops it"


class ValidationFigures(_Part):
    """What validation, on which the model was chosen, says of it.

    Attributes:
        accuracy: Balanced accuracy.
        accuracy_ci: Its 95 % bootstrap interval; None if the run had not been through `fertune select`.
        log_loss: In nats.
        recall: Of negative, neutral, positive.
    """

    accuracy: float
    accuracy_ci: Interval | None
    macro_f1: float
    log_loss: float
    recall: tuple[float, float, float]


class Metrics(_Part):
    """How good the model is.

    Attributes:
        validation: On validation.
        test: On test; None if the test set had not been read for this model.
        test_readings: How often its run had read the test set, for this model or another.
    """

    validation: ValidationFigures
    test: Figures | None
    test_readings: int


class Manifest(_Part):
    """The content of `manifest.json`.

    Attributes:
        format: Version of the artifact format.
        run: Name of the run that the model comes from.
        trial: Number of its trial there.
        family: Its family.
        config: Its config as plain values.
        fidelity: The fidelity it was trained to.
        seed: Seed of its learner.
        classes: The columns of its probabilities.
        preprocessing: What it expects of an image.
        data: What it was trained and measured on.
        metrics: How good it is.
        provenance: What the run says of its versions, data, hardware and seeds.
        files: sha256, hexadecimal, of every other file of the artifact.
    """

    format: Literal[1] = 1
    run: str
    trial: int
    family: Family
    config: dict[str, Any]
    fidelity: int
    seed: int
    classes: tuple[Literal["negative"], Literal["neutral"], Literal["positive"]] = ("negative", "neutral", "positive")
    preprocessing: Preprocessing = Preprocessing()
    data: DataSpec
    metrics: Metrics
    provenance: dict[str, Any]
    files: dict[str, str]
