"""What a plan means, before anything runs: its space, rungs, resources and budget."""

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.address import LOCAL
from results.goals import Goals
from search.budget import budget_text
from search.plan import Plan
from search.probes import estimate, estimate_lines
from search.room import Room
from search.sections import Cluster
from search.warm_start import check_earlier
from spaces.family import Family
from spaces.grid import grid_of
from spaces.tree import parameters_of
from trainables.threads import usable_cpus


def this_machine(cluster: Cluster) -> dict[str, float]:
    """What this machine would offer to a search, as the plan's `cluster` limits it."""
    gpus = cluster.gpus
    if gpus is None:
        import torch

        gpus = torch.cuda.device_count()
    return {"CPU": float(cluster.cpus or usable_cpus()), "GPU": float(gpus)}


def outline(plan: Plan, available: dict[str, float], cache: Path, probes: int) -> dict[str, Any]:
    """What `search --dry-run --json` prints, for a machine that offers `available` CPUs and GPUs.

    Args:
        plan: The plan.
        available: CPUs and GPUs.
        cache: The node's folder for parsed data.
        probes: How many configs of each family are timed; 0 leaves out the `estimate` and reads no data.

    Raises:
        InputError: If a family asks for more than there is, where the search is to run here; or the data, or an
            earlier run, cannot be read.
    """
    # What a cluster has is not known here, so there nothing need fit, or be found.
    is_here = plan.cluster.address == LOCAL
    if is_here:
        check_earlier(plan)
    room = Room(plan.resources, available, plan.space.families, grows=not is_here)
    resources = {}
    for family in plan.space.families:
        running: list[Family] = []
        while room.fits(family, running):
            running.append(family)
        shape = room.shape(family)
        resources[str(family)] = {"cpus": shape.cpus, "gpus": shape.gpus, "at_once": len(running)}
    space = {
        str(family): [vars(parameter) for parameter in parameters_of(plan.space, family)]
        for family in plan.space.families
    }
    return {
        "space": space,
        "points": [config.model_dump(mode="json") for config in plan.configs_of_points],
        "known_points": [config.model_dump(mode="json") for config in plan.known_configs()],
        "rungs": list(plan.fidelity.rungs),
        "eta": plan.fidelity.eta,
        "rungs_of": plan.rungs,
        "sampler": plan.sampler,
        "grid_configs": len(grid_of(plan.space)) if plan.sampler == "grid" else None,
        "scheduler": plan.scheduler,
        "promotion": plan.promotion,
        "first_seconds": plan.first_seconds if plan.rungs == "seconds" else None,
        "objectives": list(plan.objectives),
        "constraints": list(plan.constraints),
        "warm_start": list(plan.warm_start),
        "margin": plan.margin,
        "startup_trials": plan.startup_trials,
        "pretraining": plan.pretraining.arch if plan.needs_pretraining and not plan.fake else None,
        "budget": plan.budget.model_dump(mode="json"),
        "address": plan.cluster.address,
        "available": available,
        "resources": resources,
        "at_once": room.concurrency,
        "estimate": estimate(plan, room, cache, probes) if probes else None,
    }


def outline_text(facts: dict[str, Any]) -> RenderableType:
    """`outline` for people."""
    table = Table(title="space", title_justify="left")
    for name in ("parameter", "values", "asked for if"):
        table.add_column(name, overflow="fold")
    for parameters in facts["space"].values():
        for parameter in parameters:
            table.add_row(parameter["name"], parameter["domain"], parameter["when"])
        table.add_section()
    goals = Goals(objectives=facts["objectives"], constraints=facts["constraints"])
    available = facts["available"]
    rule = f", eta {facts['eta']}, margin {facts['margin']}" + (", promotion" if facts["promotion"] else "")
    begin = f", first at {facts['first_seconds']:g} s" if facts["first_seconds"] else ""
    lines = [
        f"points     {len(facts['points'])}, tried first; then {_startup(facts)}",
        f"sampler    {facts['sampler']}",
        f"scheduler  {facts['scheduler']}" + (rule if facts["scheduler"] in ("asha", "hyperband") else ""),
        f"rungs      {', '.join(str(rung) for rung in facts['rungs'])} ({facts['rungs_of']}{begin})",
        f"goals      {goals.describe()}",
        f"budget     {budget_text(facts['budget'], goals)}",
        f"machine    {available['CPU']:g} CPUs, {available['GPU']:g} GPUs: at most {facts['at_once']} trials at once",
    ]
    if facts["address"] != LOCAL:
        lines.append(f"cluster    {facts['address']}, not asked: what fits is told for this machine alone")
    for family, wanted in facts["resources"].items():
        occupies = f"{wanted['cpus']} CPUs, {wanted['gpus']:g} GPUs"
        lines.append(f"{family:<10} a trial occupies {occupies}: {wanted['at_once']} at once")
    lines += [f"warm start {path}" for path in facts["warm_start"]]
    if facts["pretraining"]:
        lines.append(
            f"before     {facts['pretraining']} is pretrained, unless this data's was; no estimate has that in it"
        )
    if facts["estimate"]:
        lines += estimate_lines(facts["estimate"], facts["rungs"])
    return Group(table, Text("\n".join(lines)))


def _startup(facts: dict[str, Any]) -> str:
    """What comes between the points and what the sampler suggests."""
    if facts["grid_configs"] is not None:
        return f"the {facts['grid_configs']} configs of the grid"
    known = f", the first {len(facts['known_points'])} known to be good" if facts["known_points"] else ""
    fewer = ", fewer of families that earlier runs tried" if facts["warm_start"] else ""
    return f"{facts['startup_trials']} start-up trials{known}{fewer}"
