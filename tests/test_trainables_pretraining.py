"""Pretraining a backbone in the domain: done once, for one split, and resumed where it was killed."""

import fcntl
import json
import math
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_faces import drawn_faces

from spaces.resnet import ResnetConfig
from trainables.base import Task, weights_key
from trainables.data.protocol import PretrainingData
from trainables.pretraining import RECORD, PretrainingStopped, pretrained
from trainables.resnet import ResnetLearner
from trainables.weights import read_tensors, write_tensors

CONFIG = ResnetConfig(epochs=2, batch_size=8, image_size=32, ema=0.9, schedule="one_cycle", mixup=0.2)
QUICK = CONFIG.model_copy(update={"epochs": 1, "batch_size": 112})
FACES = drawn_faces(112)
DATA = PretrainingData(FACES.images, np.arange(112, dtype=np.int8) % 7, fingerprint="f" * 32, split="5" * 32)


def test_pretraining_that_was_stopped_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    shares: list[float] = []

    def listen(share: float, loss: float) -> bool:
        shares.append(share)
        assert 0 < loss < 10
        return len(shares) != 11

    with pytest.raises(PretrainingStopped):
        pretrained(CONFIG, DATA, tmp_path / "stopped", 1, listen)
    assert len(shares) == 11
    resumed = pretrained(CONFIG, DATA, tmp_path / "stopped", 1, listen)
    straight = pretrained(CONFIG, DATA, tmp_path / "straight", 1)
    assert len(shares) == 27
    one, other = read_tensors(resumed), read_tensors(straight)
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert one["fc.weight"].shape == (7, 512)
    assert {path.name for path in resumed.parent.iterdir()} == {"weights.safetensors", RECORD, ".lock"}
    record = json.loads((resumed.parent / RECORD).read_text())
    assert record["images"] == 112
    assert record["seconds"] > 0


def test_what_was_made_once_is_used_again_and_another_split_is_not(tmp_path: Path) -> None:
    made = pretrained(QUICK, DATA, tmp_path, 1)
    assert pretrained(QUICK, DATA, tmp_path, 1, lambda share, loss: pytest.fail("trained again")) == made
    for other in (replace(DATA, split="6" * 32), replace(DATA, fingerprint="a" * 32)):
        assert pretrained(QUICK, other, tmp_path, 1) != made
    assert pretrained(QUICK.model_copy(update={"mixup": 0.0}), DATA, tmp_path, 1) != made


LOOK_UP = """
import pickle, sys
from pathlib import Path
from trainables.pretraining import pretrained
config, data = pickle.loads(Path(sys.argv[1]).read_bytes())
print(pretrained(config, data, Path(sys.argv[2]), 1), "torch" in sys.modules)
"""


def test_what_was_made_is_found_without_loading_torch(tmp_path: Path) -> None:
    made, asked = pretrained(QUICK, DATA, tmp_path, 1), tmp_path / "asked"
    asked.write_bytes(pickle.dumps((QUICK, DATA)))
    command = [sys.executable, "-c", LOOK_UP, str(asked), str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == [str(made), "False"]


def test_a_kill_at_the_very_end_costs_nothing(tmp_path: Path) -> None:
    made = pretrained(QUICK, DATA, tmp_path, 1)
    last = made.parent / "27"
    last.mkdir()
    made.replace(last / "net.safetensors")  # as if it had been killed just before the weights were moved
    shutil.copyfile(made.parent / RECORD, last / RECORD)
    write_tensors({}, last / "training.safetensors")
    assert len(_files(pretrained, tmp_path)) == 3
    last.mkdir()  # and just after
    assert len(_files(pretrained, tmp_path)) == 3


def _files(make: Callable[..., Path], cache: Path) -> list[Path]:
    return list(make(QUICK, DATA, cache, 1, lambda share, loss: pytest.fail("trained again")).parent.iterdir())


def test_who_waits_for_another_process_may_stop_waiting(tmp_path: Path) -> None:
    made = pretrained(QUICK, DATA, tmp_path, 1)
    with (made.parent / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(PretrainingStopped):
            pretrained(QUICK, DATA, tmp_path, 1, lambda share, loss: not math.isnan(loss))


def test_a_trial_starts_from_the_pretrained_backbone(tmp_path: Path) -> None:
    made = pretrained(QUICK, DATA, tmp_path, 1)
    config = ResnetConfig(weights="faces", unfreeze=0, image_size=32, epochs=1)
    learner = ResnetLearner(config, Task(FACES, weights={weights_key("resnet18", "faces"): made}))
    learner.fit_to(1)
    learner.model.save(tmp_path)
    mine, backbone = read_tensors(tmp_path / "model.safetensors"), read_tensors(made)
    assert torch.equal(mine["layer4.1.conv2.weight"], backbone["layer4.1.conv2.weight"])
    assert mine["fc.weight"].shape == (3, 512)
