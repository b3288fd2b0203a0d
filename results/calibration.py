"""Whether probabilities mean what they say, and one number that mends most of it: the temperature.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]  # scipy ships no types

from results.folds import FOLDS, stratified_folds
from trainables.data.faceset import CLASSES, EMOTIONS, Faces
from trainables.metrics import score

BINS = 15
_SMALLEST = 1e-12
_TEMPERATURES = (0.05, 20.0)
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)


@dataclass(frozen=True)
class Calibration:
    """How well probabilities are calibrated, before and after temperature scaling.

    Attributes:
        temperature: Fitted on all faces; above 1 the model is too sure of itself.
        ece: Expected calibration error of the probabilities as they are.
        ece_scaled: After scaling, by cross-validation: no face is scaled by a temperature it had a part in.
        log_loss: In nats, as they are; `log_loss_scaled` after scaling, by cross-validation.
    """

    temperature: float
    ece: float
    ece_scaled: float
    log_loss: float
    log_loss_scaled: float


def calibrate(labels: NDArray[Any], probabilities: NDArray[Any]) -> Calibration:
    """The calibration of `probabilities`, (n, 3), against `labels`, (n,), and what a temperature would do for it.

    Raises:
        ValueError: If a class has fewer faces than there are folds.
    """
    scaled = np.empty(probabilities.shape)
    for fold in stratified_folds(labels, FOLDS):
        scaled[fold] = at_temperature(probabilities[fold], fit_temperature(labels[~fold], probabilities[~fold]))
    return Calibration(
        temperature=fit_temperature(labels, probabilities),
        ece=calibration_error(labels, probabilities),
        ece_scaled=calibration_error(labels, scaled),
        log_loss=score(labels, probabilities).log_loss,
        log_loss_scaled=score(labels, scaled).log_loss,
    )


def fit_temperature(labels: NDArray[Any], probabilities: NDArray[Any]) -> float:
    """The temperature between 0.05 and 20 at which `labels`, (n,), are likeliest under `probabilities`, (n, 3)."""
    logits = _logits(probabilities)
    true = logits[np.arange(len(labels)), labels.astype(np.int64)]

    def loss(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float(np.log(np.exp(logits * inverse).sum(axis=1)).mean() - inverse * true.mean())

    # the loss is convex in the inverse temperature, so it has one valley in its logarithm
    found = minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def at_temperature(probabilities: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    """`probabilities`, (n, 3), with their logits divided by `temperature`; no label changes."""
    powers = np.exp(_logits(probabilities) / temperature)
    scaled: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return scaled


@dataclass(frozen=True)
class Reliability:
    """How sure a model is and how often it is right, by bins of the probability of the predicted class.

    Attributes:
        confidence: Its mean in each bin that holds faces, (bins,); `accuracy`, the share of labels that are right, and
            `n`, the faces, likewise.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    n: NDArray[np.int64]


def reliability(labels: NDArray[Any], probabilities: NDArray[Any]) -> Reliability:
    """The reliability of `probabilities`, (n, 3), against `labels`, (n,), in 15 bins of equal width."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    n = np.bincount(bins, minlength=BINS)
    confidences, hits = (np.bincount(bins, weights=values, minlength=BINS) for values in (confidence, right))
    used = n > 0
    return Reliability(confidences[used] / n[used], hits[used] / n[used], n[used])


def calibration_error(labels: NDArray[Any], probabilities: NDArray[Any]) -> float:
    """Expected calibration error: the mean gap between how sure a model is of its labels and how often they are right.

    The mean is over the bins of `reliability`, each weighed by its faces (Naeini, Cooper and Hauskrecht, AAAI 2015).

    Args:
        labels: The true classes, (n,).
        probabilities: (n, 3).
    """
    bins = reliability(labels, probabilities)
    return float(np.average(np.abs(bins.accuracy - bins.confidence), weights=bins.n))


class Threshold(BaseModel):
    """What comes of passing over faces of whose label a model is less sure than a threshold.

    Attributes:
        confidence: The threshold: the least probability of the label.
        coverage: The share of faces that are left.
        accuracy: The share of these whose label is right; classes weigh as they occur.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    confidence: float
    coverage: float
    accuracy: float


def thresholds(labels: NDArray[Any], probabilities: NDArray[Any]) -> list[Threshold]:
    """The thresholds at which `COVERAGES` of the faces are left, given their `labels`, (n,), and (n, 3) probabilities.

    They tell how a model trades answers for mistakes (El-Yaniv and Wiener, "On the Foundations of Noise-free Selective
    Classification", JMLR 11, 2010).
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    found = []
    for coverage in COVERAGES:
        least = float(np.quantile(confidence, 1 - coverage, method="lower"))
        left = confidence >= least
        found.append(Threshold(confidence=least, coverage=float(left.mean()), accuracy=float(right[left].mean())))
    return found


def recall_by_emotion(faces: Faces, probabilities: NDArray[Any]) -> dict[str, dict[str, Any]]:
    """How often faces of each original emotion are told to be of its class.

    Args:
        faces: The faces, n of them.
        probabilities: What a model says of them, (n, 3).

    Returns:
        By the name of each emotion that occurs: `class`, `recall` and `n`, its number of faces.
    """
    right = probabilities.argmax(axis=1) == faces.labels
    found = {}
    for emotion, name in enumerate(EMOTIONS):
        members = faces.emotions == emotion
        if members.any():
            label = CLASSES[faces.labels[members][0]]
            found[name] = {"class": label, "recall": float(right[members].mean()), "n": int(members.sum())}
    return found


def _logits(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Logits of `probabilities`, the largest of each row 0, so that no power of them overflows."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))
    centred: NDArray[np.float64] = logits - logits.max(axis=1, keepdims=True)
    return centred
