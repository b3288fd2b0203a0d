"""The files of weights that a search's trials start from: found, fetched or made once, before the first trial."""

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from search.budget import Spend
from search.engine import Engine
from search.plan import Plan
from spaces.errors import InputError

FACES = "faces"


def find_weights(plan: Plan) -> dict[str, Path]:
    """The files of weights that `plan` names, by `weights_key`, all but `faces`; each is fetched and fits its network.

    Raises:
        InputError: If weights cannot be found, fetched or read, or do not fit.
    """
    named = [(arch, weights) for _, arch, weights in plan.starting_weights]
    if plan.needs_pretraining:
        named.append((plan.pretraining.arch, plan.pretraining.weights))
    wanted = sorted({(arch, weights) for arch, weights in named if weights not in ("none", FACES)})
    if plan.fake or not wanted:
        return {}
    from trainables.base import weights_key
    from trainables.weights import load_embedding_net, resolve_weights

    files = {}
    for arch, weights in wanted:
        path = resolve_weights(arch, weights)
        assert path is not None, "only none has no file"
        load_embedding_net(arch, path)
        files[weights_key(arch, weights)] = path.resolve()
    return files


def pretrain(
    plan: Plan, engine: Engine, cache: Path, cpus: int, found: Mapping[str, Path], say: Callable[[str], None]
) -> dict[str, Path] | None:
    """The files of `found` and, if the space names them, `faces` weights; None if the session ended before.

    Args:
        plan: The plan.
        engine: Says when the session is over: pretraining counts towards its time and its means.
        cache: The node's folder for shared work.
        cpus: CPUs of the session, all of which pretraining may use.
        found: What `find_weights` gave.
        say: Shows a person what is under way.

    Raises:
        InputError: If pretraining failed.
    """
    if plan.fake or not plan.needs_pretraining:
        return dict(found)
    if engine.is_over:
        return None
    from trainables.base import TrainingError, weights_key
    from trainables.data.protocol import load_pretraining
    from trainables.pretraining import PretrainingStopped, pretrained
    from trainables.threads import usable_cpus

    data = load_pretraining(plan.data, cache)
    arch, began = plan.pretraining.arch, time.time()
    cpus = max(1, min(cpus, usable_cpus()))
    computing_since, is_computed = began, False

    def spent() -> tuple[float, tuple[float, float]]:
        """Seconds that this process has computed, and the CPUs and GPUs that it occupied."""
        from trainables.precision import Compute

        return time.time() - computing_since, (cpus, float(Compute.best().device.type == "cuda"))

    def listen(share: float, loss: float) -> bool:
        nonlocal computing_since, is_computed
        if math.isnan(loss):
            computing_since = time.time()
            say(f"pretraining {arch}: another process is doing it, waiting, {time.time() - began:.0f} s")
        else:
            is_computed = True
            say(f"pretraining {arch}: {share:.0%} done, training loss {loss:.3f}, {time.time() - began:.0f} s")
        is_spent = is_computed and engine.spend.plus(*spent()).share(plan.budget) >= 1
        return not (engine.is_over or is_spent)

    say(f"pretraining {arch} on {len(data.images):,} faces of seven emotions, unless that was done before ...")
    try:
        path = pretrained(plan.pretraining, data, cache, cpus, listen, found)
    except PretrainingStopped:
        return None
    except TrainingError as error:
        raise InputError(f"pretraining: {error}") from error
    finally:
        if is_computed:
            engine.note_preparation(Spend(0.0, 0.0).plus(*spent()))
    return {**found, weights_key(arch, FACES): path.resolve()}


def weights_provenance(files: Mapping[str, Path]) -> dict[str, Any]:
    """What to remember of files of weights: the sha256 of each and, of pretrained ones, what pretraining was."""
    from trainables.pretraining import pretraining_record

    return {
        key: {"sha256": _sha256(path), "pretraining": pretraining_record(path) if key.endswith(f" {FACES}") else None}
        for key, path in files.items()
    }


def check_same_weights(began_with: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Make sure that a resumed run goes on with the weights it began with.

    Raises:
        InputError: If a file is another.
    """
    for key, entry in now.items():
        before = began_with.get(key)
        if before and before["sha256"] != entry["sha256"]:
            raise InputError(
                f"weights {key!r}: the file is not the one this run began with (sha256 {entry['sha256'][:16]}.., then "
                f"{before['sha256'][:16]}..); put that one back, or begin a new run"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
