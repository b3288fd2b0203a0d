import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spaces.errors import InputError
from spaces.fidelity import Fidelity
from spaces.resnet import ResnetConfig
from trainables.backbones import random_net
from trainables.base import Task, TrainingError
from trainables.data.faceset import Faces
from trainables.optimization import rate_factor
from trainables.precision import Compute, cpu_threads
from trainables.resnet import ResnetLearner, ResnetModel

CPU = torch.device("cpu")
FLOAT32, BF16 = Compute(CPU, bf16=False), Compute(CPU, bf16=True)
TINY = ResnetConfig(epochs=3, batch_size=12, image_size=32, augment=0.3, dropout=0.2, label_smoothing=0.1)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


def make_faces(counts: tuple[int, int, int] = (12, 12, 12), seed: int = 0) -> Faces:
    """Noise in three brightnesses, one for each class."""
    labels = np.repeat(np.arange(3), counts)
    noise = np.random.default_rng(seed).integers(0, 60, (len(labels), 48, 48))
    images = (noise + 80 * labels[:, None, None]).astype(np.uint8)
    return Faces(images, labels.astype(np.int8), np.zeros(len(labels), np.int8), tuple(map(str, labels)))


FACES = make_faces()
TASK = Task(FACES, seed=1)


def trained_to(fidelity: int, config: ResnetConfig = TINY, task: Task = TASK) -> ResnetLearner:
    learner = ResnetLearner(config, task, FLOAT32)
    learner.fit_to(fidelity)
    return learner


def tensors_of(learner: ResnetLearner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in learner.model.net.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def full() -> ResnetLearner:
    return trained_to(27)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    trained_to(3).save(folder)
    return folder


@pytest.mark.parametrize("compute", [FLOAT32, BF16], ids=["float32", "bf16"])
def test_resumed_training_equals_straight_training_bit_for_bit(compute: Compute, tmp_path: Path) -> None:
    straight = ResnetLearner(TINY, TASK, compute)
    straight.fit_to(27)
    first = ResnetLearner(TINY, TASK, compute)
    first.fit_to(9)
    first.predict_proba(FACES.images)
    first.save(tmp_path)
    resumed = ResnetLearner(TINY, TASK, compute)
    resumed.load(tmp_path)
    assert resumed.fidelity == 9
    assert same(tensors_of(first), tensors_of(resumed))
    resumed.fit_to(27)
    assert same(tensors_of(straight), tensors_of(resumed))
    assert np.array_equal(straight.predict_proba(FACES.images), resumed.predict_proba(FACES.images))


def test_the_seed_fixes_the_training() -> None:
    once = tensors_of(trained_to(9))
    torch.rand(5)
    assert same(once, tensors_of(trained_to(9)))
    assert not same(once, tensors_of(trained_to(9, task=replace(TASK, seed=2))))


def test_training_leaves_no_trace_in_torch() -> None:
    with cpu_threads(2):
        before = torch.random.get_rng_state()
        trained_to(1)
        assert torch.get_num_threads() == 2
    assert torch.equal(torch.random.get_rng_state(), before)


def test_it_learns(full: ResnetLearner) -> None:
    unseen = make_faces(seed=9)
    probabilities = full.predict_proba(unseen.images)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (probabilities.argmax(axis=1) == unseen.labels).mean() > 0.9


def test_measurements_count_images_and_follow_the_schedule() -> None:
    learner = ResnetLearner(TINY, TASK, FLOAT32)
    early, late = learner.fit_to(9), learner.fit_to(27)
    assert (early["images"], late["images"]) == (3 * 12, 6 * 12)
    assert early["learning_rate"] == pytest.approx(TINY.head_lr * rate_factor(2, 9))
    assert late["learning_rate"] == pytest.approx(TINY.head_lr * rate_factor(8, 9))
    assert late["train_loss"] < early["train_loss"]


def test_with_fewer_steps_than_fidelities_some_fidelities_add_nothing() -> None:
    config = TINY.model_copy(update={"epochs": 1, "batch_size": 36})
    learner = ResnetLearner(config, TASK, FLOAT32)
    assert learner.fit_to(1)["images"] == 36
    assert learner.fit_to(27) == {"images": 0.0, "learning_rate": TINY.head_lr}


def test_a_rare_class_is_not_drowned() -> None:
    rare = make_faces((24, 6, 6))
    alike = replace(rare, images=np.full_like(rare.images, 90))
    config = TINY.model_copy(update={"unfreeze": 0, "epochs": 20, "augment": 0.0, "dropout": 0.0, "head_lr": 0.03})
    probabilities = trained_to(27, config, Task(alike)).predict_proba(alike.images[:1])
    np.testing.assert_allclose(probabilities, 1 / 3, atol=0.1)


def test_a_frozen_backbone_stays_as_its_file_has_it(tmp_path: Path) -> None:
    start = random_net("resnet18", 7).state_dict()
    save_file(start, tmp_path / "start.safetensors")
    config = TINY.model_copy(update={"weights": str(tmp_path / "start.safetensors"), "unfreeze": 0})
    after = tensors_of(trained_to(9, config))
    assert same({k: v for k, v in start.items() if k[:2] != "fc"}, {k: v for k, v in after.items() if k[:2] != "fc"})
    assert not torch.equal(after["fc.weight"], start["fc.weight"])


def test_a_checkpoint_goes_on_without_the_file_it_started_from(tmp_path: Path) -> None:
    path = tmp_path / "start.safetensors"
    save_file(random_net("resnet18", 7).state_dict(), path)
    config = TINY.model_copy(update={"weights": str(path), "unfreeze": 1})
    trained_to(1, config).save(tmp_path / "checkpoint")
    path.unlink()
    learner = ResnetLearner(config, TASK, FLOAT32)
    learner.load(tmp_path / "checkpoint")
    learner.fit_to(3)
    with pytest.raises(InputError, match="no such file"):
        trained_to(1, config)


def test_there_is_no_model_before_training(tmp_path: Path) -> None:
    learner = ResnetLearner(TINY, TASK, FLOAT32)
    with pytest.raises(RuntimeError, match="call fit_to or load first"):
        learner.predict_proba(FACES.images)
    with pytest.raises(RuntimeError, match="call fit_to or load first"):
        learner.save(tmp_path)


def test_a_training_that_diverges_fails_with_its_reason() -> None:
    config = TINY.model_copy(update={"unfreeze": 0, "epochs": 20, "head_lr": 10.0, "weight_decay": 10.0})
    learner = ResnetLearner(config, TASK, FLOAT32)
    with pytest.raises(TrainingError, match=r"diverged: .* not finite after step \d+ of 60 \(head_lr 10"):
        learner.fit_to(27)
    with pytest.raises(RuntimeError, match="no model"):
        _ = learner.model


@pytest.mark.parametrize(
    "name", ["training.json", "training.safetensors", "model/model.json", "model/model.safetensors"]
)
@pytest.mark.parametrize("content", [None, b"{garbled"], ids=["missing", "garbled"])
def test_a_damaged_checkpoint_is_refused(name: str, content: bytes | None, checkpoint: Path, tmp_path: Path) -> None:
    for path in checkpoint.rglob("*.*"):
        copy = tmp_path / path.relative_to(checkpoint)
        copy.parent.mkdir(exist_ok=True)
        copy.symlink_to(path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=Path(name).name):
        ResnetLearner(TINY, TASK, FLOAT32).load(tmp_path)
    if name.startswith("model/"):
        with pytest.raises(InputError, match=Path(name).name):
            ResnetModel.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("config", "task", "field"),
    [
        ({"dropout": 0.5}, {}, "config"),
        ({}, {"seed": 5}, "seed"),
        ({}, {"faces": make_faces((5, 5, 5))}, "images"),
        ({}, {"scale": Fidelity(maximum=9)}, "scale"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    config: dict[str, Any], task: dict[str, Any], field: str, checkpoint: Path
) -> None:
    learner = ResnetLearner(TINY.model_copy(update=config), replace(TASK, **task), FLOAT32)
    with pytest.raises(InputError, match=f"another training; it differs in {field}"):
        learner.load(checkpoint)


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:]
from test_trainables_resnet import FLOAT32, TASK, TINY, ResnetLearner
from trainables.base import TrainingError

ResnetLearner(TINY, TASK, FLOAT32).fit_to(1)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
learner = ResnetLearner(TINY.model_copy(update={"batch_size": 4096, "unfreeze": 0}), TASK, FLOAT32)
try:
    learner.fit_to(1)
except TrainingError as error:
    print(error)
ResnetLearner(TINY, TASK, FLOAT32).fit_to(1)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits its own memory as only Linux can")
def test_too_little_memory_fails_the_trial_and_not_the_process() -> None:
    folders = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    done = subprocess.run([sys.executable, "-c", LITTLE_MEMORY, *folders], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("out of memory on cpu: batches of 4096 images of 32 x 32 pixels through resnet18")


@pytest.mark.gpu
@needs_gpu
def test_on_a_gpu_it_learns_resumes_and_moves_to_the_cpu(tmp_path: Path) -> None:
    straight = ResnetLearner(TINY, TASK)
    straight.fit_to(27)
    assert next(straight.model.net.parameters()).is_cuda
    first = ResnetLearner(TINY, TASK)
    first.fit_to(9)
    first.save(tmp_path)
    resumed = ResnetLearner(TINY, TASK)
    resumed.load(tmp_path)
    resumed.fit_to(27)
    wanted = straight.predict_proba(FACES.images)
    np.testing.assert_allclose(resumed.predict_proba(FACES.images), wanted, atol=0.05)
    assert (wanted.argmax(axis=1) == FACES.labels).mean() > 0.9
    straight.save(tmp_path)
    on_cpu = ResnetModel.load(tmp_path / "model", FLOAT32).predict_proba(FACES.images)
    np.testing.assert_allclose(on_cpu, wanted, atol=0.05)


@pytest.mark.gpu
@needs_gpu
def test_too_little_gpu_memory_fails_the_trial_and_frees_what_it_held() -> None:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction(2**31 / torch.cuda.get_device_properties(0).total_memory)
    try:
        big = ResnetConfig(batch_size=4096, image_size=224)
        with pytest.raises(TrainingError, match="out of memory on cuda"):
            ResnetLearner(big, TASK).fit_to(1)
        assert torch.cuda.memory_reserved() <= before + 2**24
        ResnetLearner(TINY, TASK).fit_to(1)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
