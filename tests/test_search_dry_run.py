"""What a plan means, before anything runs; and plans taken from runs."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from recorded_run import run_of_three
from rich.console import Console

from search.cli import main
from search.dry_run import outline, outline_text
from search.forecast import forecast
from search.plan import validate_plan
from search.probes import carried_on
from search.room import Room
from spaces.errors import InputError
from spaces.family import Family
from spaces.fidelity import Fidelity
from spaces.joint import JointSpace
from spaces.tree import parameters_of
from trainables.devices import may_use_gpus
from trainables.fake import FakeLearner


def test_the_tree_is_that_of_the_space():
    found = {parameter.name: parameter for parameter in parameters_of(JointSpace(), Family.SVM)}
    assert found["svm.C"].domain == "0.03 to 100 (log)"
    assert found["svm.C"].when == ""
    assert found["svm.gamma"].when == "svm.kernel is poly or rbf or sigmoid"
    assert found["svm.degree"].when == "svm.kernel is poly"
    assert found["svm.features.whiten"].when == "svm.features.pca is 128 or 256"
    assert found["svm.features.hog_cell"].when == "svm.features.kind is hog or hog+lbp"
    assert "family" not in found
    assert "svm.features.backbone" not in found


def test_a_choice_that_is_itself_conditional_decides():
    space = JointSpace.model_validate({"resnet": {"weights": ["none", "imagenet"]}})
    found = {parameter.name: parameter for parameter in parameters_of(space, Family.RESNET)}
    assert found["resnet.unfreeze"].when == "resnet.weights is imagenet"
    assert found["resnet.stage_decay"].when == "resnet.unfreeze is 2 or 3 or 4 or 5 or not asked for"


def test_what_fits_at_once():
    resources = {"svm": {"cpus": 2}, "resnet": {"gpus": 0.5}}
    plan = validate_plan({"budget": {"trials": 5}, "resources": resources}, "test")
    facts = outline(plan, {"CPU": 5.0, "GPU": 1.0}, Path("unused"), 0)
    assert {family: wanted["at_once"] for family, wanted in facts["resources"].items()} == {
        "svm": 2,
        "forest": 5,
        "resnet": 2,
    }
    assert facts["at_once"] == 5
    assert facts["rungs"] == [1, 3, 9, 27]
    assert [config["family"] for config in facts["known_points"]] == ["resnet", "svm", "forest"]
    with pytest.raises(InputError, match="a trial asks for 2 CPUs"):
        outline(plan, {"CPU": 1.0, "GPU": 1.0}, Path("unused"), 0)


def test_what_a_strategy_has_is_told_and_no_more():
    listed = {
        "families": ["svm"],
        "svm": {
            "kernel": "linear",
            "C": [0.1, 1.0],
            "class_weight": "none",
            "features": {"kind": "pixels", "contrast": "none", "pca": 0, "mirror": False, "flip": False},
        },
    }

    def told(**fields: Any) -> str:
        plan = validate_plan({"budget": {"trials": 5}, **fields}, "test")
        console = Console(file=io.StringIO(), width=200)
        console.print(outline_text(outline(plan, {"CPU": 2.0, "GPU": 0.0}, Path("unused"), 0)))
        return console.file.getvalue()

    assert "scheduler  hyperband, eta 3, margin learned" in told(scheduler="hyperband")
    assert "scheduler  median\n" in "\n".join(line.rstrip() for line in told(scheduler="median").splitlines())
    grid = told(sampler="grid", space=listed)
    assert "tried first; then the 2 configs of the grid" in grid
    assert "start-up" not in grid
    random = told(sampler="random")
    assert "10 start-up trials" in random
    assert "known to be good" not in random
    assert "10 start-up trials, the first 3 known to be good" in told()


def test_a_dry_run_of_a_runs_plan(tmp_path: Path, capsys, monkeypatch):
    run = run_of_three(tmp_path / "mine-20260102-030405")
    monkeypatch.chdir(tmp_path)
    dry = ["search", "--like", str(run.path), "--set", "cluster.cpus=4", "--dry-run", "--probes", "0"]
    with pytest.raises(SystemExit) as end:
        main([*dry, "--trials", "3", "--json"])
    assert end.value.code == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["budget"] == {
        "trials": 3,
        "minutes": None,
        "target": None,
        "patience": 4,
        "cpu_seconds": 100.0,
        "gpu_seconds": None,
        "cpu_price": None,
        "gpu_price": None,
        "cost": None,
    }
    assert facts["resources"]["svm"] == {"cpus": 2, "gpus": 0.0, "at_once": 2}
    assert not (tmp_path / "runs").exists()
    with pytest.raises(SystemExit) as end:
        main(dry)
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "svm.kernel is poly" in out
    assert "at most 4 trials at once" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "search takes a PLAN or --like RUN, received neither"),
        (["plan.yaml", "--like", "runs/one"], "search takes a PLAN or --like RUN, received both"),
        (["--like", "runs/none"], "no run here"),
    ],
)
def test_a_search_has_one_plan(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as end:
        main(["search", *arguments])
    assert end.value.code == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_a_repeated_run_gets_a_name_of_its_own(tmp_path: Path):
    from search.cli import _origin

    run = run_of_three(tmp_path / "mine-20260102-030405")
    plan, name = _origin(None, str(run.path), (), {"budget.trials": 3})
    assert (plan.budget.trials, name) == (3, "mine")
    quick = Path(__file__).resolve().parent.parent / "examples" / "quick.yaml"
    assert _origin(quick, None, (), {})[1] == "quick"


def test_seconds_are_carried_on_from_two_rungs():
    assert carried_on([1.0, 3.0], Fidelity(), growth=1) == [1.0, 3.0, 9.0, 27.0]
    assert carried_on([5.0, 13.0], Fidelity(), growth=2) == [5.0, 13.0, 85.0, 733.0]
    assert carried_on([2.0], Fidelity(maximum=1), growth=1) == [2.0]


def forecast_of(**fields: Any) -> dict[str, Any]:
    plan = validate_plan({"space": {"families": ["forest"]}, **fields}, "test")
    room = Room(plan.resources, {"CPU": 2.0, "GPU": 0.0}, plan.space.families)
    return forecast(plan, room, {Family.FOREST: [1.0, 3.0, 9.0, 27.0]})


def test_without_stopping_a_forecast_is_a_plain_sum():
    found = forecast_of(budget={"trials": 10, "cpu_price": 0.5}, scheduler="none")
    assert found == {
        "trial": {"forest": 27.0},
        "trials": 10,
        "seconds": 5 * 27.0,
        "cpu_seconds": 270.0,
        "gpu_seconds": 0.0,
        "cost": 135.0,
    }
    long = forecast_of(budget={"trials": 3000}, scheduler="none")
    assert (long["trials"], long["seconds"]) == (3000, pytest.approx(1500 * 27.0))
    assert forecast_of(budget={"minutes": 27}, scheduler="none")["trials"] == pytest.approx(120, abs=2)
    assert forecast_of(budget={"patience": 27}, scheduler="none") == {"trial": {"forest": 27.0}}


def test_stopping_makes_a_trial_cheaper_and_the_first_ones_hardly():
    def seconds(**fields: Any) -> float:
        return forecast_of(**{"budget": {"trials": 100}, **fields})["trial"]["forest"]

    assert seconds(margin=0) == pytest.approx(1 + 2 / 3 + 6 / 9 + 18 / 27, rel=0.1)
    assert seconds(margin=0) < seconds() < seconds(scheduler="none") == 27.0
    assert seconds() < seconds(budget={"trials": 6})
    assert seconds(objectives=["latency_ms"], margin=5) == seconds(), "5 ms are no 500 % of accuracy"


def test_an_estimate_comes_from_timed_probes(tmp_path: Path):
    fields = {
        "budget": {"trials": 40, "cpu_price": 0.5},
        "data": {"demo_images": 700},
        "fake": {"seconds": 0.6},
        "resources": {"resnet": {"cpus": 2}},
    }
    facts = outline(validate_plan(fields, "test"), {"CPU": 2.0, "GPU": 0.0}, tmp_path, 1)
    estimated = facts["estimate"]
    assert set(estimated["families"]) == set(Family)
    forest = estimated["families"]["forest"]["seconds"]
    assert len(forest) == 4
    assert 0.6 <= forest[-1] < 30
    assert estimated["trials"] == 40
    assert estimated["cpu_seconds"] / 2 <= estimated["seconds"] < estimated["cpu_seconds"]
    assert estimated["cost"] == pytest.approx(0.5 * estimated["cpu_seconds"])
    text = io.StringIO()
    Console(file=text, width=200).print(outline_text(facts))
    assert "estimate   40 trials" in text.getvalue()
    assert "cost" in text.getvalue()
    assert estimated["notes"] == []


@pytest.mark.parametrize(
    ("budget", "note"),
    [
        (
            {"patience": 3},
            "estimate   none of the whole search, since nobody can foresee when patience or a target ends",
        ),
        ({"trials": 4, "patience": 3}, "           patience may end it sooner"),
        ({"trials": 4, "patience": 3, "target": 0.9}, "           patience or target may end it sooner"),
    ],
)
def test_what_an_estimate_leaves_out_is_told(tmp_path: Path, budget: dict[str, Any], note: str):
    fields = {"data": {"demo_images": 700}, "fake": {"seconds": 0.01}, "scheduler": "none"}
    facts = outline(validate_plan({"budget": budget, **fields}, "test"), {"CPU": 2.0, "GPU": 0.0}, tmp_path, 1)
    text = io.StringIO()
    Console(file=text, width=200).print(outline_text(facts))
    assert note in text.getvalue()


def test_probes_of_a_family_without_a_gpu_leave_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: dict[Family, bool] = {}

    def noted(plan: Any, family: Family, *_: Any) -> list[float]:
        seen[family] = may_use_gpus()
        return [1.0, 3.0, 9.0, 27.0]

    monkeypatch.setattr("search.probes._probe", noted)
    plan = validate_plan({"budget": {"trials": 4}, "data": {"demo_images": 700}}, "test")
    facts = outline(plan, {"CPU": 4.0, "GPU": 1.0}, tmp_path, 1)
    assert seen == {Family.SVM: False, Family.FOREST: False, Family.RESNET: True}
    assert facts["estimate"]["notes"] == ["work that trials share makes it cheaper; the probes share none"]


def test_random_weights_stand_in_for_those_that_a_family_starts_from(tmp_path: Path):
    embeddings = {"kind": "embedding", "backbone": ["resnet18", "mobilenet_v3_small"], "weights": "imagenet", "pca": 64}
    space = {
        "families": ["svm", "resnet"],
        "svm": {"features": {**embeddings, "whiten": False, "image_size": 32}},
        "resnet": {"arch": "resnet18", "weights": "faces", "image_size": 32},
    }
    fields = {
        "budget": {"trials": 4},
        "data": {"demo_images": 700},
        "fidelity": {"maximum": 9},
        "space": space,
        "pretraining": {"arch": "resnet18"},
    }
    facts = outline(validate_plan(fields, "test"), {"CPU": 2.0}, tmp_path, 1)
    assert facts["pretraining"] == "resnet18"
    estimated = facts["estimate"]
    assert all(values["seconds"][0] > 0 for values in estimated["families"].values())
    assert estimated["trials"] == 4


def test_a_forecast_keeps_to_the_machine():
    plan = validate_plan({"budget": {"trials": 40}, "scheduler": "none"}, "test")
    room = Room(plan.resources, {"CPU": 16.0, "GPU": 1.0}, plan.space.families)
    found = forecast(plan, room, {family: [1.0, 3.0, 9.0, 27.0] for family in Family})
    assert found["cpu_seconds"] == 40 * 27
    assert found["seconds"] >= found["gpu_seconds"] > 0  # one resnet at a time
    assert found["seconds"] >= found["cpu_seconds"] / 16


@pytest.mark.parametrize("fields", [{"budget": {"trials": 1}}, {"space": {"resnet": {"weights": "imagenet"}}}])
def test_a_family_without_trials_or_probes_does_not_break_the_estimate(tmp_path: Path, fields, monkeypatch):
    def none_of_networks(plan: Any, family: Family, folder: Path) -> dict[str, Path]:
        if family is Family.RESNET and "space" in fields:
            raise InputError("no room for random weights")
        return {}

    monkeypatch.setattr("search.probes.stand_ins", none_of_networks)
    space = {"svm": {"kernel": "linear", "features": {"kind": "pixels", "pca": 16}}, "forest": {"trees": 3}}
    space["resnet"] = {"image_size": 32, "arch": "resnet18", **fields.get("space", {}).get("resnet", {})}
    budget = fields.get("budget", {"trials": 4})
    plan = validate_plan({"budget": budget, "data": {"demo_images": 700}, "space": space}, "test")
    facts = outline(plan, {"CPU": 2.0, "GPU": 0.0}, tmp_path, 1)
    text = io.StringIO()
    Console(file=text, width=300).print(outline_text(facts))
    assert "svm        about" in text.getvalue()
    if "space" in fields:
        assert "resnet     not probed: no room for random weights" in text.getvalue()
        assert "estimate   none of the whole search, since not every family was probed" in text.getvalue()
    else:
        assert "estimate   1 trials" in text.getvalue()


def test_a_forecast_keeps_to_its_minutes_and_to_a_grid():
    assert forecast_of(budget={"minutes": 0.2}, scheduler="none")["seconds"] == 12.0
    forest = {"trees": [10, 20], "depth": [4, 8], "min_samples_leaf": 1, "max_features": 0.1, "criterion": "gini"}
    features = {"kind": "pixels", "contrast": "none", "pca": 0, "mirror": False, "flip": False}
    space = {"families": ["forest"], "forest": {**forest, "class_weight": "balanced", "features": features}}
    grid = {"space": space, "sampler": "grid", "scheduler": "none"}
    assert forecast_of(budget={"trials": 1000}, **grid)["trials"] == 4
    assert forecast_of(budget={"patience": 50}, **grid)["trials"] == 4


def test_the_plan_of_a_cluster_is_told_on_a_machine_that_has_less(tmp_path: Path):
    fields = {
        "budget": {"trials": 5},
        "data": {"demo_images": 700},
        "fake": {"seconds": 0.1},
        "cluster": {"address": "127.0.0.1:6379"},
        "resources": {"resnet": {"gpus": 1}},
    }
    facts = outline(validate_plan(fields, "test"), {"CPU": 2.0, "GPU": 0.0}, tmp_path, 1)
    assert facts["resources"]["resnet"] == {"cpus": 1, "gpus": 1.0, "at_once": 0}
    assert set(facts["estimate"]) == {"families", "notes"}
    assert facts["estimate"]["notes"] == ["none of the whole search, since not every family fits here"]
    text = io.StringIO()
    Console(file=text, width=300).print(outline_text(facts))
    assert "what fits is told for this machine alone" in text.getvalue()
    with pytest.raises(InputError, match="a trial asks for 1 CPUs and 1 GPUs"):
        outline(validate_plan({**fields, "cluster": {}}, "test"), {"CPU": 2.0, "GPU": 0.0}, tmp_path, 0)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("seed=1", "--set seed=1: a run that goes on may change budget, cluster, resources; the rest is fixed"),
        ("budget.cpu_price=-1", "budget.cpu_price"),  # taken, and refused for its value
    ],
)
def test_what_a_resume_may_change(tmp_path: Path, capsys, setting: str, sentence: str):
    run = run_of_three(tmp_path / "one")
    with pytest.raises(SystemExit) as end:
        main(["resume", str(run.path), "--set", setting])
    assert end.value.code == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_a_probe_without_enough_memory_is_told_beside_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fit_to = FakeLearner.fit_to

    def runs_out(learner: FakeLearner, fidelity: int) -> dict[str, float]:
        if fidelity > 1:
            raise MemoryError("no more\nof it")
        return fit_to(learner, fidelity)

    monkeypatch.setattr(FakeLearner, "fit_to", runs_out)
    fields = {"budget": {"trials": 5}, "data": {"demo_images": 700}, "fake": {"seconds": 0.1}}
    facts = outline(validate_plan(fields, "test"), {"CPU": 2.0, "GPU": 0.0}, tmp_path, 1)
    assert facts["estimate"]["families"]["svm"] == {"why_not": "out of memory (no more)"}


def test_trials_that_the_budget_cuts_say_nothing_of_how_long_trials_take():
    plan = validate_plan({"budget": {"minutes": 1}}, "test")
    room = Room(plan.resources, {"CPU": 2.0, "GPU": 0.0}, plan.space.families)
    taken = {Family.SVM: [90.0] * 4, Family.FOREST: [91.0] * 4, Family.RESNET: [92.0] * 4}
    assert forecast(plan, room, taken)["trial"] == {}
    found = forecast(plan, room, {**taken, Family.SVM: [10.0] * 4, Family.FOREST: [12.0] * 4})["trial"]
    assert found == {"svm": 10.0, "forest": 12.0}


def test_a_forecast_begins_as_the_search_will():
    """With the known network; a search that knows nothing, with a machine, whose family is dealt first."""
    for fields, seconds in (({}, 100.0), ({"known_points": False}, 1.0)):
        plan = validate_plan({"budget": {"trials": 1}, **fields}, "test")
        room = Room(plan.resources, {"CPU": 2.0, "GPU": 0.0}, plan.space.families)
        taken = {Family.SVM: [1.0] * 4, Family.FOREST: [2.0] * 4, Family.RESNET: [100.0] * 4}
        assert forecast(plan, room, taken)["cpu_seconds"] == seconds
