"""Made-up learning curves, for tests and simulations where none were recorded."""

import hashlib
import json
import math
import random

from spaces.family import Family
from spaces.fidelity import Fidelity
from spaces.forest import ForestConfig
from spaces.points import parameters
from spaces.resnet import ResnetConfig
from spaces.svm import SvmConfig
from trainables.curves import LearningCurve

# What each family reaches at best, what a poor config loses of it, how early that shows, and seconds at full fidelity.
_FAMILIES = {
    Family.SVM: (0.75, 0.3, 0.6, 20.0),
    Family.FOREST: (0.65, 0.2, 0.9, 10.0),
    Family.RESNET: (0.8, 0.4, 0.3, 60.0),
}
VALIDATION_FACES = 4000
_NOISE = 0.007  # the standard error of an accuracy on so many


class SyntheticCurves:
    """A landscape in which each parameter has a best value, few of them matter much, and accuracy grows as a power law.

    Attributes:
        scale: The scale of fidelities.
        seed: Another seed is another landscape.
    """

    def __init__(self, scale: Fidelity, seed: int = 0) -> None:
        self.scale = scale
        self.seed = seed

    def curve(self, config: SvmConfig | ForestConfig | ResnetConfig) -> LearningCurve:
        """The curve of `config`, always the same one."""
        best, loss, early, seconds = _FAMILIES[Family(config.family)]
        values = parameters(config)
        noise = self._source(json.dumps(values, sort_keys=True))
        weights = {name: self._source(f"weight {name}").random() ** 4 for name in values if name != "family"}
        missed = sum(weight * self._distance(name, values[name]) for name, weight in weights.items())
        top = best - loss * missed / sum(weights.values())
        seconds *= noise.uniform(0.5, 2.0)
        accuracies = []
        for rung in self.scale.rungs:
            grown = 1 / 3 + (top - 1 / 3) * (rung / self.scale.maximum) ** (0.5 * (1 - early) + 0.05)
            accuracies.append(min(max(grown + noise.gauss(0, _NOISE), 0.0), 1.0))
        count = len(accuracies)
        return LearningCurve(
            config=config,
            fidelity=self.scale.rungs,
            val_accuracy=tuple(accuracies),
            val_macro_f1=tuple(accuracies),
            val_log_loss=tuple(-math.log(max(accuracy, 0.01)) for accuracy in accuracies),
            val_recall=((accuracies[-1],) * 3,) * count,
            seconds=tuple(seconds * (0.1 + 0.9 * rung / self.scale.maximum) for rung in self.scale.rungs),
            latency_ms=(seconds,) * count,
            model_mb=(seconds / 10,) * count,
        )

    def _distance(self, name: str, value: object) -> float:
        """How far, 0 to 1, `value` is from the best one of the parameter `name`."""
        if isinstance(value, float):
            ideal = 10 ** self._source(name).uniform(-2, 1)
            return min(abs(math.log10(max(value, 1e-6) / ideal)) / 3, 1.0)
        return self._source(f"{name} {value}").random()

    def _source(self, text: str) -> random.Random:
        digest = hashlib.blake2b(f"{self.seed} {text}".encode(), digest_size=8).digest()
        return random.Random(digest)  # noqa: S311 (no secret)
