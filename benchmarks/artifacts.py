"""What an exported model costs: writing it and its ONNX file, and telling 1,000 faces, with ONNX Runtime beside it.

One config of each family is trained, saved as an artifact saves it, and read back. The faces, validation faces that no
model was trained on, are then told by the model and by ONNX Runtime in turn, on as many threads each: all of them in
batches, and the first hundred one at a time. Seconds are those of all threads together, which other work on the machine
hardly changes.

    python benchmarks/artifacts.py [--data fer2013.csv] [--balance 2400] [--faces 1000] [--threads 1] [--rounds 3]
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import sklearn
import torch

from results.onnx_file import in_float32, run_onnx, session, write_onnx
from spaces.family import Family
from spaces.features import FeatureConfig
from spaces.fidelity import Fidelity
from spaces.forest import ForestConfig
from spaces.resnet import ResnetConfig
from spaces.svm import SvmConfig
from trainables.base import Task
from trainables.data.protocol import TrainingData, load_training
from trainables.data.spec import DataSpec, ProtocolSpec
from trainables.families import build_learner, load_model
from trainables.precision import Compute
from trainables.threads import limit_threads

GOOD = FeatureConfig(kind="hog+lbp", hog_signed=True, pca=256, flip=True)
CONFIGS = (
    SvmConfig(features=GOOD),
    ForestConfig(trees=150, min_samples_leaf=4, features=GOOD.model_copy(update={"pca": 64})),
    ResnetConfig(epochs=1, image_size=48, flip=True),
)
SINGLES = 100


def timed(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def measure(config: SvmConfig | ForestConfig | ResnetConfig, data: TrainingData, given: argparse.Namespace) -> None:
    learner = build_learner(config, Task(data.train, scale=Fidelity(maximum=1), threads=given.threads))
    learner.fit_to(1)
    images, family = data.validation.images[: given.faces], Family(config.family)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        saving = timed(lambda: learner.model.save(folder))
        size = sum(path.stat().st_size for path in folder.iterdir())
        exporting = timed(lambda: write_onnx([(family, folder)], [1.0], folder / "model.onnx"))
        model, runtime = load_model(family, folder), session(folder / "model.onnx", given.threads)
        exact = in_float32(family, folder).predict_proba(images)
        limit_threads(given.threads)
        seconds: dict[str, list[float]] = {"model": [], "ONNX Runtime": [], "model, single": [], "ONNX, single": []}
        calls: dict[str, Callable[[], object]] = {
            "model": lambda: model.predict_proba(images),
            "ONNX Runtime": lambda: run_onnx(runtime, images),
            "model, single": lambda: [model.predict_proba(image[None]) for image in images[:SINGLES]],
            "ONNX, single": lambda: run_onnx(runtime, images[:SINGLES], batch=1),
        }
        for number in range(given.rounds + 1):
            for kind, call in calls.items():
                took = timed(call)
                if number:  # the first round warms up
                    seconds[kind].append(took)
        found, here = run_onnx(runtime, images), model.predict_proba(images)
        onnx_size = (folder / "model.onnx").stat().st_size
    whole, by_onnx, single, single_onnx = (statistics.median(times) for times in seconds.values())
    alike = int((found.argmax(axis=1) == exact.argmax(axis=1)).sum())
    print(
        f"{family}: saved in {saving:.2f} s ({size / 1e6:.1f} MB), model.onnx written and compared in "
        f"{exporting:.1f} s ({onnx_size / 1e6:.1f} MB)\n"
        f"  {len(images)} faces: {whole:.2f} s, ONNX Runtime {by_onnx:.2f} s; one face: {1000 * single / SINGLES:.1f} "
        f"ms, ONNX Runtime {1000 * single_onnx / SINGLES:.1f} ms\n"
        f"  the same label for {alike}, largest difference {np.abs(found - exact).max():.1g} in float32, "
        f"{np.abs(found - here).max():.1g} as it runs here",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="demo")
    parser.add_argument("--balance", type=int, default=1200)
    parser.add_argument("--faces", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    spec = DataSpec(source=given.data, demo_images=12000, protocol=ProtocolSpec(balance=given.balance))
    with tempfile.TemporaryDirectory() as cache:
        data = load_training(spec, Path(cache))
        print(
            f"{given.data}, {len(data.train):,} training faces, {given.threads} threads, bf16 {Compute.best().bf16}, "
            f"n = {given.rounds}, medians, CPU seconds; onnxruntime {onnxruntime.__version__}, "
            f"torch {torch.__version__}, scikit-learn {sklearn.__version__}, Python {platform.python_version()}",
            flush=True,
        )
        for config in CONFIGS:
            measure(config, data, given)


if __name__ == "__main__":
    main()
