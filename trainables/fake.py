"""A learner that waits instead of learning: the rest of a search can be timed and tested without training."""

import hashlib
import json
import time
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from spaces.errors import InputError
from trainables.base import Learner, Model, Task
from trainables.data.faceset import Images


class FakeModel(Model):
    """Nearest class mean over pixels, blurred by noise: its accuracy is above chance and falls with `noise`.

    Attributes:
        means: float32, (3, 2304), mean pixels of the classes, in 0..1.
        noise: Standard deviation of the noise added to the squared distances.
        seed: Fixes the noise.
    """

    def __init__(self, means: NDArray[np.float32], noise: float, seed: int) -> None:
        self.means = means
        self.noise = noise
        self.seed = seed

    def predict_proba(self, images: Images) -> NDArray[np.float32]:
        pixels = images.reshape(len(images), -1).astype(np.float32) / 255.0
        centred = pixels - self.means.mean(axis=0)
        scores = centred @ (self.means - self.means.mean(axis=0)).T
        scores = scores / max(float(scores.std()), 1e-6) if len(images) else scores
        scores = scores + self.noise * np.random.default_rng(self.seed).standard_normal(scores.shape)
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float32] = (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)
        return probabilities

    def save(self, folder: Path) -> None:
        np.save(folder / "means.npy", self.means, allow_pickle=False)
        (folder / "fake.json").write_text(json.dumps({"noise": self.noise, "seed": self.seed}))

    @classmethod
    def load(cls, folder: Path) -> Self:
        try:
            values = json.loads((folder / "fake.json").read_text())
            return cls(np.load(folder / "means.npy", allow_pickle=False), values["noise"], values["seed"])
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{folder}: not a checkpoint of the fake learner ({error})") from error


class FakeLearner(Learner):
    """Waits `seconds` for its whole budget; its noise depends on the config alone and falls as fidelity rises."""

    def __init__(self, config: BaseModel, task: Task, seconds: float) -> None:
        super().__init__(task)
        digest = hashlib.blake2b(config.model_dump_json().encode(), digest_size=8).digest()
        self._quality = int.from_bytes(digest, "big") / 2**64
        self._seconds = seconds
        self._model: FakeModel | None = None

    def fit_to(self, fidelity: int) -> dict[str, float]:
        self._check_target(fidelity)
        self._note_batch()
        faces, scale = self.task.faces, self.task.scale
        time.sleep(self._seconds * (fidelity - self.fidelity) / scale.maximum)
        pixels = faces.images.reshape(len(faces), -1).astype(np.float32) / 255.0
        means = np.stack([pixels[faces.labels == label].mean(axis=0) for label in range(3)])
        noise = 2.0 * self._quality + 1 - fidelity / scale.maximum
        self._model = FakeModel(means.astype(np.float32), noise, self.task.seed)
        images = scale.units(len(faces), fidelity)
        self.fidelity = fidelity
        return {"images": float(images)}

    @property
    def model(self) -> FakeModel:
        if self._model is None:
            raise RuntimeError("the learner has not been fitted")
        return self._model

    def save(self, folder: Path) -> None:
        (folder / "model").mkdir()
        self.model.save(folder / "model")
        (folder / "learner.json").write_text(json.dumps({"fidelity": self.fidelity}))

    def load(self, folder: Path) -> None:
        self._model = FakeModel.load(folder / "model")
        try:
            self.fidelity = int(json.loads((folder / "learner.json").read_text())["fidelity"])
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{folder}: not a checkpoint of the fake learner ({error})") from error
