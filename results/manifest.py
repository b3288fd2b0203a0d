"""The manifest of an artifact: what it is, and the hash of everything beside it."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from results.calibration import Threshold
from results.readings import Figures
from results.statistics import Interval
from spaces.family import Family
from trainables.data.faceset import SIDE
from trainables.data.spec import DataSpec

FORMAT = 2


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


class EnsembleFigures(_Part):
    """What validation says of an ensemble whose weights were chosen on it, by cross-validation.

    Attributes:
        accuracy: Balanced accuracy; no face had a part in the weights that predicted it.
        accuracy_ci: Its 95 % bootstrap interval.
        log_loss: In nats.
        gain: By how much it beats the single winner; `gain_ci` is its interval.
        mcnemar_p: Of McNemar's exact test that ensemble and winner are right equally often.
    """

    accuracy: float
    accuracy_ci: Interval
    log_loss: float
    gain: float
    gain_ci: Interval
    mcnemar_p: float


class Metrics(_Part):
    """How good the model is.

    Attributes:
        validation: On validation.
        test: On test; None if the test set had not been read for this model, and for every ensemble.
        test_readings: How often its run had read the test set, for this model or another.
    """

    validation: ValidationFigures | EnsembleFigures
    test: Figures | None
    test_readings: int


class Member(_Part):
    """One model of an ensemble.

    Attributes:
        trial: Number of its trial in the run.
        family: Its family.
        config: Its config as plain values.
        seed: Seed of its learner.
        weight: Its share of the mean; the shares sum to one.
    """

    trial: int
    family: Family
    config: dict[str, Any]
    seed: int
    weight: float


class Choice(_Part):
    """What the comparison that chose the model found; all on validation faces.

    Attributes:
        candidates: How many trials were compared.
        refits: How often each was trained again, with other seeds and, unless the rules said otherwise, other splits.
        accuracy: Mean balanced accuracy of the winner's refits, else its own; `accuracy_ci` is its 95 % interval.
        mcnemar_p: Of McNemar's exact test against the runner-up, with Holm's correction; None if there was none.
        optimism: By how much picking the best of all finished trials is expected to flatter its accuracy; None where it
            was picked for something else.
        temperature: What the logarithms of the probabilities are divided by to calibrate them; it is not applied.
        ece: Expected calibration error as they are, and `ece_scaled` at the temperature, cross-validated.
    """

    candidates: int
    refits: int
    accuracy: float
    accuracy_ci: Interval
    mcnemar_p: float | None
    optimism: float | None
    temperature: float
    ece: float
    ece_scaled: float


class Refit(_Part):
    """How the model was trained once more, on training and validation faces together.

    Attributes:
        images: Faces it was trained on.
        workers: Processes that trained it.
        seconds: Seconds that took.
    """

    images: int
    workers: int
    seconds: float


class OnnxFile(_Part):
    """What is known of `model.onnx`.

    Attributes:
        opset: Version of its operators.
        input: Name, type and shape of what it takes: cropped faces as `preprocessing` says, n of them.
        output: Name, type and shape of what it gives; columns in the order of `classes`.
        faces: On how many faces, drawn by the program, ONNX Runtime was compared with the model when it was exported.
        same_labels: On how many of them both gave the same label.
        largest_difference: The largest between their probabilities.
        mean_difference: The mean over faces of the largest of a face. The model was compared in float32, as ONNX
            computes; on a processor where networks run in bfloat16, `fertune predict` differs by more.
    """

    opset: int
    input: str = "faces: uint8 (n, 48, 48), gray levels"
    output: str = "probabilities: float32 (n, 3)"
    faces: int
    same_labels: int
    largest_difference: float
    mean_difference: float


class Manifest(_Part):
    """The content of `manifest.json`.

    Attributes:
        format: Version of the artifact format.
        run: Name of the run that the model comes from.
        trial: Number of its trial there; this and the next three are None for an ensemble.
        family: Its family.
        config: Its config as plain values.
        seed: Seed of its learner.
        members: The models of an ensemble; empty otherwise.
        refit: How the model was trained once more; `metrics` and `thresholds` are then of the trial's model, which
            never saw the validation faces. None if it is the trial's model itself.
        choice: What the comparison that chose it found; None if the run had not been through `fertune select`, and for
            an ensemble.
        fidelity: The fidelity it was trained to.
        classes: The columns of its probabilities.
        decision: How a label follows from them.
        thresholds: What is left, and how right it is, where faces with less sure labels are passed over, measured on
            validation; empty if the run had not been through `fertune select`.
        preprocessing: What it expects of an image.
        data: What it was trained and measured on.
        metrics: How good it is.
        onnx: What is known of `model.onnx`; None if there is none.
        provenance: What the run says of its versions, data, hardware and seeds.
        files: sha256, hexadecimal, of every other file of the artifact.
    """

    format: Literal[2] = 2
    run: str
    trial: int | None = None
    family: Family | None = None
    config: dict[str, Any] | None = None
    seed: int | None = None
    members: tuple[Member, ...] = ()
    refit: Refit | None = None
    choice: Choice | None = None
    fidelity: int
    classes: tuple[Literal["negative"], Literal["neutral"], Literal["positive"]] = ("negative", "neutral", "positive")
    decision: str = "the class of the highest probability"
    thresholds: tuple[Threshold, ...] = ()
    preprocessing: Preprocessing = Preprocessing()
    data: DataSpec
    metrics: Metrics
    onnx: OnnxFile | None = None
    provenance: dict[str, Any]
    files: dict[str, str]

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        single = (self.trial, self.family, self.config, self.seed)
        if (None in single) is not bool(self.members) or (self.members and any(part is not None for part in single)):
            raise ValueError("a manifest has either trial, family, config and seed, or members")
        if self.refit and self.members:
            raise ValueError("an ensemble is not refitted")
        return self
