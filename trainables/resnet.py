"""The resnet family: convolutional networks fine-tuned on faces."""

from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from spaces.errors import InputError
from spaces.fidelity import Fidelity
from spaces.resnet import Arch, ImageSize, ResnetConfig, Stem
from trainables.backbones import empty_net, head, prepare
from trainables.base import Learner, Model, Task, TrainingError, weights_key
from trainables.data.faceset import CLASSES, Images
from trainables.descriptors import mirror
from trainables.finetuning import Examples, FineTuning
from trainables.precision import Compute, cpu_threads, out_of_memory, release_memory
from trainables.prefix import Prefix
from trainables.weights import check_fit, read_into, read_tensors, starting_net, write_tensors

PREDICT_BATCH = 128

Form = TypeVar("Form", bound=BaseModel)


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelForm(_Form):
    """What predicting needs besides the tensors: `model.json`; fields are those of `ResnetConfig`."""

    arch: Arch
    image_size: ImageSize
    # Files from before there were these choices lack them.
    stem: Stem = "imagenet"
    flip: bool = False


class Progress(_Form):
    """What a checkpoint is of, and how far: `training.json`."""

    config: ResnetConfig
    scale: Fidelity
    seed: int
    images: int
    fidelity: int = Field(ge=0)


class ResnetModel(Model):
    """A network that predicts.

    Args:
        net: The network, on the device of `compute`.
        form: What it is.
        compute: Where and in which precision it runs.
    """

    def __init__(self, net: nn.Module, form: ModelForm, compute: Compute) -> None:
        self.net = net
        self.form = form
        self.compute = compute

    @torch.inference_mode()
    def predict_proba(self, images: Images) -> NDArray[np.float32]:
        self.net.eval()
        probabilities = np.empty((len(images), len(CLASSES)), dtype=np.float32)
        for start in range(0, len(images), PREDICT_BATCH):
            part = slice(start, start + PREDICT_BATCH)
            batch = torch.tensor(images[part], device=self.compute.device)
            found = self._softmax(batch)
            if self.form.flip:
                found = (found + self._softmax(batch.flip(2))) / 2
            probabilities[part] = found.cpu().numpy()
        return probabilities

    def _softmax(self, batch: Tensor) -> Tensor:
        images = prepare(batch, self.form.image_size)
        with self.compute.autocast():
            logits: Tensor = self.net(images)
        return logits.float().softmax(dim=1)

    def save(self, folder: Path) -> None:
        write_tensors(self.net.state_dict(), folder / "model.safetensors")
        (folder / "model.json").write_text(self.form.model_dump_json(indent=2))

    @classmethod
    def load(cls, folder: Path, compute: Compute | None = None) -> Self:
        compute = compute or Compute.best()
        form = _read_form(ModelForm, folder / "model.json")
        path = folder / "model.safetensors"
        net, tensors = empty_net(form.arch, form.stem), read_tensors(path)
        check_fit(tensors, net.state_dict(), path)
        net.load_state_dict(tensors)
        return cls(compute.place(net), form, compute)


class ResnetLearner(Learner):
    """Fine-tunes a network; the full budget is counted in optimizer steps.

    On a CPU with the same number of threads the same config, task and fidelity give the same bits.

    Args:
        config: What to train.
        task: What to train it on.
        compute: Where and in which precision; by default the best this machine has.
    """

    def __init__(self, config: ResnetConfig, task: Task, compute: Compute | None = None) -> None:
        super().__init__(task)
        self.config = config
        self.compute = compute or Compute.best()
        self._training: FineTuning | None = None
        self._prefix: Prefix | None = None
        self._file: Path | None = None

    @property
    def model(self) -> ResnetModel:
        """The network as trained so far, not a copy: it goes on changing when training does."""
        config = self.config
        form = ModelForm(arch=config.arch, image_size=config.image_size, stem=config.stem, flip=config.flip)
        return ResnetModel(self._begun.predictor, form, self.compute)

    @property
    def _begun(self) -> FineTuning:
        if self._training is None:
            raise RuntimeError("no model yet: call fit_to or load first")
        return self._training

    def predict_proba(self, images: Images) -> NDArray[np.float32]:
        with cpu_threads(self.task.threads):
            return super().predict_proba(images) if self._prefix is None else self._predict_shared(images, self._prefix)

    @torch.inference_mode()
    def _predict_shared(self, images: Images, prefix: Prefix) -> NDArray[np.float32]:
        """As the model predicts, but what the frozen stages make of `images` is shared."""
        net = self._begun.predictor.eval()
        above, last = prefix.above(net), head(net)

        def probabilities(seen: Images) -> NDArray[np.float32]:
            found = np.empty((len(seen), len(CLASSES)), dtype=np.float32)
            for number, activations in enumerate(prefix.plain(seen, PREDICT_BATCH)):
                with self.compute.autocast():
                    logits = last(above(activations))
                part = slice(number * PREDICT_BATCH, (number + 1) * PREDICT_BATCH)
                found[part] = logits.float().softmax(dim=1).cpu().numpy()
            return found

        plain = probabilities(images)
        return (plain + probabilities(mirror(images))) * np.float32(0.5) if self.config.flip else plain

    def fit_to(self, fidelity: int) -> dict[str, float]:
        self._check_target(fidelity)
        try:
            with cpu_threads(self.task.threads):
                measured = self._fit_to(fidelity)
            self.fidelity = fidelity
            return measured
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0]
        finally:
            if self.fidelity != fidelity:
                # Stopped between two fidelities, of which a checkpoint knows nothing: this learner begins again.
                self._training, self.fidelity = None, 0
        # Only past the handler: its exception held the frames that held the tensors.
        release_memory(self.compute)
        size = self.config.image_size
        raise TrainingError(
            f"out of memory on {self.compute.device}: batches of {self.config.batch_size} images of {size} x {size} "
            f"pixels through {self.config.arch} ({reason})"
        )

    def _fit_to(self, fidelity: int) -> dict[str, float]:
        training = self._training = self._training or self._begin()
        units = self.task.scale.units
        first = units(training.total_steps, self.fidelity) if self.fidelity else 0
        steps = range(first, units(training.total_steps, fidelity))
        measured = {
            "images": float(len(steps) * self.config.batch_size),
            "learning_rate": training.rate(steps.stop - 1),
        }
        # With fewer steps than fidelities, neighbouring fidelities are the same step.
        return measured | {"train_loss": training.run(steps, self._note_batch)} if steps else measured

    def _begin(self) -> FineTuning:
        self._file = self.task.weights.get(weights_key(self.config.arch, self.config.weights))
        return self._training_of(self.compute.place(starting_net(self.config, self.task.seed, files=self.task.weights)))

    def _training_of(self, net: nn.Module) -> FineTuning:
        examples = Examples.of(self.task.faces)
        self._prefix = Prefix.of(net, self.config, self.task, self.compute, self._file)
        return FineTuning(net, self.config, examples, self.task.seed, self.compute, self._prefix)

    def save(self, folder: Path) -> None:
        training = self._begun
        (folder / "model").mkdir(parents=True, exist_ok=True)
        self.model.save(folder / "model")
        write_tensors(training.state(), folder / "training.safetensors")
        (folder / "training.json").write_text(self._progress().model_dump_json(indent=2))

    def load(self, folder: Path) -> None:
        path = folder / "training.json"
        found = _read_form(Progress, path)
        mine = self._progress()
        differing = [name for name in Progress.model_fields if getattr(found, name) != getattr(mine, name)]
        if set(differing) - {"fidelity"}:
            raise InputError(f"{path}: a checkpoint of another training; it differs in {', '.join(differing)}")
        training = self._training_of(ResnetModel.load(folder / "model", self.compute).net)
        read_into(training.state(), folder / "training.safetensors")
        self._training = training
        self.fidelity = found.fidelity

    def _progress(self) -> Progress:
        return Progress(
            # Where the weights came from no longer matters, and `imagenet` may have become the path of a file.
            config=self.config.model_copy(update={"weights": "none"}),
            scale=self.task.scale,
            seed=self.task.seed,
            images=len(self.task.faces),
            fidelity=self.fidelity,
        )


def _read_form(kind: type[Form], path: Path) -> Form:
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise InputError(f"{path}: not what a resnet writes ({error.errors()[0]['msg']})") from error
