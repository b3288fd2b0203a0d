"""The files of weights that a search's trials start from: found, fetched or made once, before the first trial."""

import time
from collections.abc import Callable
from pathlib import Path

from search.engine import Engine
from search.plan import Plan
from spaces.errors import InputError


def prepare_weights(
    plan: Plan, engine: Engine, cache: Path, cpus: int, say: Callable[[str], None]
) -> dict[str, Path] | None:
    """Every file of weights the space names, by `weights_key`; None if the session ended before they were made.

    Args:
        plan: The plan.
        engine: Says when the session is over: pretraining counts towards its time.
        cache: The node's folder for shared work.
        cpus: CPUs of the session, all of which pretraining may use.
        say: Shows a person what is under way.

    Raises:
        InputError: If weights cannot be found, fetched or made.
    """
    wanted = sorted({(arch, weights) for _, arch, weights in plan.starting_weights if weights != "none"})
    if plan.fake or not wanted:
        return {}
    from trainables.weights import resolve_weights, weights_key

    files = {}
    for arch, weights in wanted:
        path = _pretrain(plan, engine, cache, cpus, say) if weights == "faces" else resolve_weights(arch, weights)
        if path is None:
            return None
        files[weights_key(arch, weights)] = path.resolve()
    return files


def _pretrain(plan: Plan, engine: Engine, cache: Path, cpus: int, say: Callable[[str], None]) -> Path | None:
    """The `faces` weights of `plan`; None if the session ended before they were ready."""
    from trainables.base import TrainingError
    from trainables.data.protocol import load_pretraining
    from trainables.pretraining import PretrainingStopped, pretrained
    from trainables.threads import usable_cpus

    data = load_pretraining(plan.data, cache)
    arch, began = plan.pretraining.arch, time.time()

    def listen(share: float, loss: float) -> bool:
        say(f"pretraining {arch}: {share:.0%} done, training loss {loss:.3f}, {time.time() - began:.0f} s")
        return not engine.is_over

    say(f"pretraining {arch} on {len(data.images):,} faces of seven emotions, unless that was done before ...")
    try:
        return pretrained(plan.pretraining, data, cache, min(cpus, usable_cpus()), listen)
    except PretrainingStopped:
        return None
    except TrainingError as error:
        raise InputError(f"pretraining: {error}") from error
