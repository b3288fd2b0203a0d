"""Learning curves: what trials measured at each rung, recorded so that searches can be simulated without training."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from spaces.errors import InputError
from spaces.family import Family
from spaces.forest import ForestConfig
from spaces.joint import Config
from spaces.points import parameters
from spaces.resnet import ResnetConfig
from spaces.svm import SvmConfig

_TREES = 100


class LearningCurve(BaseModel):
    """One trial trained to full fidelity; the tuples have one value for each rung, lowest first.

    Attributes:
        config: Its config.
        fidelity: The rungs.
        val_accuracy: Balanced accuracy on validation; the other `val_` fields are likewise on validation.
        val_log_loss: In nats.
        val_recall: Recall of negative, neutral, positive.
        seconds: CPU seconds spent in all since the trial began, set-up and validation included.
        latency_ms: Milliseconds to predict one face.
        model_mb: Size of the model's files in megabytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    config: Config
    fidelity: tuple[int, ...] = Field(min_length=1)
    val_accuracy: tuple[float, ...]
    val_macro_f1: tuple[float, ...]
    val_log_loss: tuple[float, ...]
    val_recall: tuple[tuple[float, float, float], ...]
    seconds: tuple[float, ...]
    latency_ms: tuple[float, ...]
    model_mb: tuple[float, ...]

    @model_validator(mode="after")
    def _one_value_a_rung(self) -> Self:
        for name in type(self).model_fields:
            if name != "config" and len(getattr(self, name)) != len(self.fidelity):
                raise ValueError(f"{name} has {len(getattr(self, name))} values for {len(self.fidelity)} rungs")
        if list(self.fidelity) != sorted(set(self.fidelity)) or list(self.seconds) != sorted(self.seconds):
            raise ValueError("fidelity and seconds must rise from rung to rung")
        return self


class CurveTable:
    """Recorded learning curves that stand in for training: a config has the curve of the recorded one most like it.

    Likeness is learned, family by family: extremely randomized trees (Geurts et al., Machine Learning 2006) predict the
    recorded curves from the configs, and the recorded config that shares most of the trees' leaves with a new one is
    most like it (the proximity of Breiman's random forests). So a parameter counts as much as it matters for the
    curves, and a curve is always one that was measured, noise included.

    Attributes:
        families: The families of which curves were recorded.
    """

    def __init__(self, curves: Sequence[LearningCurve]) -> None:
        self.families = tuple(family for family in Family if any(curve.config.family == family for curve in curves))
        self._likeness = {
            family: _Likeness([curve for curve in curves if curve.config.family == family]) for family in self.families
        }

    def curve(self, config: SvmConfig | ForestConfig | ResnetConfig) -> LearningCurve:
        """The curve that stands for `config`.

        Raises:
            InputError: If none of its family was recorded.
        """
        family = Family(config.family)
        if family not in self._likeness:
            raise InputError(f"no learning curve of the family {family} was recorded")
        return self._likeness[family].nearest(config)


class _Likeness:
    """Which recorded config of one family is most like another."""

    def __init__(self, curves: list[LearningCurve]) -> None:
        from sklearn.ensemble import ExtraTreesRegressor

        self._curves = curves
        values = [parameters(curve.config) for curve in curves]
        self._columns = sorted({(name, _level(value)) for row in values for name, value in row.items()})
        targets = np.array([[*curve.val_accuracy, *np.log(np.maximum(curve.seconds, 1e-3))] for curve in curves])
        spread = targets.std(axis=0)
        self._trees = ExtraTreesRegressor(_TREES, min_samples_leaf=2, random_state=0)
        self._trees.fit([self._encoded(row) for row in values], (targets - targets.mean(axis=0)) / (spread + 1e-9))
        self._leaves = self._leaves_of([self._encoded(row) for row in values])
        self.nearest = lru_cache(maxsize=None)(self._nearest)

    def _nearest(self, config: SvmConfig | ForestConfig | ResnetConfig) -> LearningCurve:
        leaves = self._leaves_of([self._encoded(parameters(config))])
        return self._curves[int((self._leaves == leaves).sum(axis=1).argmax())]

    def _leaves_of(self, rows: list[list[float]]) -> NDArray[np.int64]:
        """The leaf of each row in each tree, (rows, trees); the forest's own `apply` is slow for one row."""
        matrix = np.asarray(rows, dtype=np.float32)
        return np.stack([tree.tree_.apply(matrix) for tree in self._trees.estimators_], axis=1)

    def _encoded(self, row: dict[str, Any]) -> list[float]:
        """One number for each numeric parameter, and one that is 0 or 1 for each recorded value of any other."""
        return [float(row[name]) if not level else float(_level(row[name]) == level) for name, level in self._columns]


def _level(value: Any) -> str:
    """What a value is called if it is one of some choices; empty if it is a number."""
    return "" if isinstance(value, int | float) else str(value)


def read_curves(path: Path) -> list[LearningCurve]:
    """The learning curves in `path`, one JSON object a line, as `write_curve` writes them.

    Raises:
        InputError: If the file cannot be read, is empty, or a line is no learning curve.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the learning curves cannot be read ({error})") from error
    adapter, curves = TypeAdapter(LearningCurve), []
    for number, line in enumerate(lines, start=1):
        try:
            curves.append(adapter.validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "line"
            raise InputError(f"{path}, line {number}: {where}: {first['msg']}") from error
    if not curves:
        raise InputError(f"{path}: no learning curves here; a file holds one a line")
    return curves


def write_curve(curve: LearningCurve, path: Path) -> None:
    """Append `curve` to `path` as one line, without the fields of its config that have their default."""
    config = {"family": curve.config.family, **curve.config.model_dump(mode="json", exclude_defaults=True)}
    values = {**curve.model_dump(mode="json"), "config": config}
    with path.open("a") as file:
        file.write(f"{TypeAdapter(dict).dump_json(values).decode()}\n")
