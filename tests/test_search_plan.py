from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from results.run_folder import RunFolder
from search.budget import Budget
from search.plan import PRETRAINING, Plan, validate_plan
from search.plan_file import absolute, read_plan, write_plan
from search.run import check_same_search
from spaces.errors import InputError
from spaces.svm import SvmConfig
from trainables.data.spec import CropSpec

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text("budget: {trials: 5}\n")
    return path


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_a_plan(path):
    assert read_plan(path).budget.minutes


def test_there_are_examples():
    assert {path.name for path in EXAMPLES} >= {"quick.yaml", "fer2013.yaml"}


def test_a_saved_plan_reads_back_equal(plan_file, tmp_path):
    plan = read_plan(plan_file, ["space.svm.C={low: 1, high: 2}", "data.protocol.balance=none"])
    write_plan(plan, tmp_path / "saved.yaml")
    assert read_plan(tmp_path / "saved.yaml") == plan


def test_settings_reach_every_depth(plan_file):
    settings = ["budget.trials=7", "space.families=[svm, forest]", "space.svm.features.pca=64", "seed=3"]
    plan = read_plan(plan_file, settings)
    assert plan.budget.trials == 7
    assert plan.space.families == ("svm", "forest")
    assert plan.space.svm.features.pca == (64,)
    assert plan.seed == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("budget: {trials: 5}\nseeed: 3", "seeed: no such field (received 3)"),
        ("budget: {trials: many}", "budget.trials: input should be a valid integer"),
        ("budget: {trials: 0}", "budget.trials: input should be greater than or equal to 1 (received 0)"),
        ("budget: {target: 0.7}", "budget: a search needs an end"),
        ("budget: {trials: 5, target: 1.5}", "budget.target: val_accuracy allows 1 at most; received 1.5"),
        ("budget: {trials: 5}\nmargin: 0.7", "margin: val_accuracy allows 0.5 at most; received 0.7"),
        ("seed: 1", "budget: field required"),
        ("budget: {trials: 5}\nfidelity: {maximum: 26}", "maximum must be a power of eta"),
        ("budget: {trials: 5}\nspace: {svm: {C: {low: 0, high: 1}}}", "space.svm: C allows 0.0, but"),
        ("budget: {trials: 5}\nspace: {svm: {C: [x]}}", "space.svm.C.0: input should be a valid number"),
        (
            "budget: {trials: 5}\ncluster: {address: elsewhere}",
            "cluster.address: expected local, auto or the host:port",
        ),
        ("budget: {trials: 5}\ndata: {protocol: {negative: [bored]}}", "negative names 'bored'; allowed are angry"),
        (
            "budget: {trials: 5}\ndata: {crop: eyes}",
            "data.crop: received 'eyes'; allowed are none, face, or a section",
        ),
        (
            "budget: {trials: 5}\ndata: {crop: {detector: dlib}}",
            "data.crop.detector: input should be 'haar' or 'yunet'",
        ),
        ("budget: {trials: 5}\ndata: {crop: {missing: skip}}", "data.crop.missing: input should be 'keep' or 'drop'"),
        (
            "budget: {trials: 5}\ndata: {crop: {detector: yunet}}",
            "data.crop: the detector yunet needs `model`, the path",
        ),
        ("budget: {trials: 5}\ndata: {crop: {model: x.onnx}}", "`model` is 'x.onnx', but the detector haar takes none"),
        ("budget: {trials: 5}\ndata: {crop: {margin: 2}}", "data.crop.margin: input should be less than or equal to 1"),
        ("budget: {trials: 5}\nbudget: {trials: 6}", "line 2: not valid YAML (the key 'budget' is given twice)"),
        ("budget: {trials: 5", "not valid YAML"),
        ("budget: {cpu_seconds: 5}", "budget: a search needs an end: give trials, minutes or patience"),
        ("budget: {trials: 5, patience: 0}", "budget.patience: input should be greater than or equal to 1"),
        ("budget: {trials: 5}\nsampler: sobol", "sampler: input should be 'tpe', 'random', 'gp', 'cmaes' or 'grid'"),
        ("budget: {trials: 5}\nscheduler: pbt", "scheduler: input should be 'asha', 'hyperband', 'median' or 'none'"),
        ("budget: {trials: 5}\nrungs: all", "rungs: input should be 'family', 'shared' or 'seconds'"),
        ("budget: {trials: 5}\npoints: [3]", "points.0: input should be a valid dictionary"),
        ("budget: {trials: 5}\npoints: [{C: 3}]", "points: point 0: family: a point names its family; allowed are svm"),
        ("budget: {trials: 5}\npoints: [{family: svn}]", "points: point 0: point: input tag 'svn'"),
        ("budget: {trials: 5}\npoints: [{family: svm, c: 3}]", "point 0: svm.c: no such field (received 3)"),
        (
            "budget: {trials: 5}\nmargin: learnt",
            "margin: input should be 'learned' or input should be a valid number, unable to parse string as a number "
            "(received 'learnt')",
        ),
        (
            "budget: {trials: 5}\ncache: 0",
            "cache: input should be greater than 0 or input should be 'off' (received 0)",
        ),
        ("budget: {trials: 5}\nobjectives: val_macro_f1", "objectives: expected a list (received 'val_macro_f1')"),
        (
            "budget: {trials: 5}\nresources: {svm: {gpus: .inf}}",
            "resources.svm.gpus: input should be a finite number (received inf)",
        ),
        ("budget: {trials: 5}\npoints: [{family: svm, C: -1}]", "point 0: svm.C: input should be greater than 0"),
        (
            "budget: {trials: 5}\npoints: [{family: svm}, {family: svm, C: 1000}]",
            "points: point 1: svm.C is 1000.0, which is not searched; allowed are 0.03 to 100",
        ),
        (
            "budget: {trials: 5}\npoints: [{family: svm}]\nspace: {svm: {features: {pca: [64, 128]}}}",
            "point 0: svm.features.pca is left out and by default 0, which is not searched; allowed are 64, 128",
        ),
        (
            "budget: {trials: 5}\npoints: [{family: svm}]\nspace: {families: forest}",
            "point 0: family is 'svm', which is not searched; allowed are forest",
        ),
        (
            "budget: {trials: 5}\npoints: [{family: svm, kernel: linear, gamma: 2}]",
            "point 0: svm.gamma is 2.0, but this point has no use for it; leave it out",
        ),
        ("- 1", "a plan is a mapping of fields, found list"),
        ("", "a plan is a mapping of fields, found NoneType"),
    ],
)
def test_a_broken_plan_gets_a_sentence(tmp_path, text, sentence):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_plan(path)
    assert sentence in str(error.value)
    assert str(error.value).startswith(str(path))


def test_all_mistakes_are_told_at_once_and_each_once(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("budget: {trials: 0, minutes: x}\nspace: {families: [svn]}\nspeed: 3\n")
    with pytest.raises(InputError) as error:
        read_plan(path)
    lines = str(error.value).splitlines()
    assert lines[0].endswith("4 mistakes")
    fields = sorted(line.strip().partition(":")[0] for line in lines[1:])
    assert fields == ["budget.minutes", "budget.trials", "space.families.0", "speed"]


def test_all_fields_that_exclude_each_other_are_told_at_once():
    values = {
        "budget": {"trials": 5},
        "sampler": "gp",
        "objectives": ["val_accuracy", "latency_ms"],
        "margin": 0.9,
        "promotion": True,
        "scheduler": "median",
        "pretraining": {"weights": "faces"},
    }
    with pytest.raises(InputError) as error:
        validate_plan(values, "plan.yaml")
    lines = str(error.value).splitlines()
    assert lines[0] == "plan.yaml: 4 mistakes"
    assert [line.split(":")[1].strip() for line in lines[1:]] == [
        "sampler gp",
        "margin",
        "promotion",
        "pretraining.weights",
    ]


def test_what_single_fields_lack_is_told_at_once():
    with pytest.raises(InputError) as error:
        validate_plan({"budget": {"cost": 5}, "objectives": ["val_accuracy", "val_accuracy"]}, "plan.yaml")
    text = str(error.value)
    assert text.startswith("plan.yaml: 3 mistakes")
    assert all(each in text for each in ("nothing has a price", "a search needs an end", "an objective is named twice"))


def test_all_wrong_points_are_told_at_once():
    points = [{"family": "svm", "kernel": "cubic"}, {"family": "svm"}, {"family": "tree"}]
    with pytest.raises(InputError) as error:
        validate_plan({"budget": {"trials": 5}, "points": points}, "plan.yaml")
    assert [line.split(":")[1].strip() for line in str(error.value).splitlines()[1:]] == ["point 0", "point 2"]


@pytest.mark.parametrize("setting", ["trials", "=3", "budget.=3", "seed.deeper=3", "budget.trials=[1"])
def test_broken_settings_get_a_sentence(plan_file, setting):
    plan_file.write_text("budget: {trials: 5}\nseed: 1\n")
    with pytest.raises(InputError, match="--set"):
        read_plan(plan_file, [setting])


def test_a_missing_plan(tmp_path):
    with pytest.raises(InputError, match="the plan cannot be read"):
        read_plan(tmp_path / "nowhere.yaml")


def test_a_relative_source_is_made_absolute_but_demo_is_not_a_path(plan_file):
    relative = read_plan(plan_file, ["data.source=faces.csv"])
    assert Path(absolute(relative).data.source) == Path.cwd() / "faces.csv"
    assert absolute(read_plan(plan_file)).data.source == "demo"


@pytest.mark.parametrize(
    ("text", "crop"),
    [
        ("none", None),
        ("", None),
        ("face", CropSpec()),
        ("{}", CropSpec()),
        ("{missing: drop}", CropSpec(missing="drop")),
        ("{detector: yunet, model: y.onnx}", CropSpec(detector="yunet", model="y.onnx")),
    ],
)
def test_forms_of_crop(tmp_path, text, crop):
    path = tmp_path / "plan.yaml"
    path.write_text(f"budget: {{trials: 5}}\ndata: {{crop: {text}}}\n")
    plan = read_plan(path)
    assert plan.data.crop == crop
    write_plan(plan, path)
    assert read_plan(path) == plan


def test_a_relative_detector_is_made_absolute(plan_file):
    plan = absolute(read_plan(plan_file, ["data.crop={detector: yunet, model: yunet.onnx, missing: drop}"]))
    model = str(Path.cwd() / "yunet.onnx")
    assert plan.data.crop == CropSpec(detector="yunet", model=model, missing="drop")
    assert plan.data.source == "demo"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_yaml_is_a_plan_or_an_input_error(values):
    values = yaml.safe_load(yaml.safe_dump(values))
    try:
        plan = validate_plan(values if isinstance(values, dict) else {"budget": values}, "plan")
    except InputError:
        return
    assert isinstance(plan, Plan)


def test_a_flag_is_a_value_not_yaml(plan_file):
    plan = read_plan(plan_file, flags={"data.source": "2013: faces #1.csv", "budget.minutes": 2.0, "seed": None})
    assert (plan.data.source, plan.budget.minutes, plan.seed) == ("2013: faces #1.csv", 2.0, 0)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00binary", b"? [a, b]\n: 3\n", b"budget: {minutes: .inf}\n"])
def test_files_that_are_no_plans(tmp_path, content):
    path = tmp_path / "plan.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_plan(path)


def test_faces_weights_are_there_for_one_architecture():
    resnet = {"weights": ["faces", "none"], "arch": "resnet18"}
    assert validate_plan({"budget": {"trials": 1}, "space": {"resnet": resnet}}, "test").needs_pretraining
    assert not validate_plan({"budget": {"trials": 1}}, "test").needs_pretraining
    embedding = {"features": {"kind": ["hog", "embedding"]}}
    assert validate_plan({"budget": {"trials": 1}, "space": {"svm": embedding}}, "test").needs_pretraining
    features = {"kind": "embedding", "weights": "none"}
    with pytest.raises(InputError, match="embeddings of random weights"):
        validate_plan({"budget": {"trials": 1}, "space": {"svm": {"features": features}}}, "test")
    with pytest.raises(InputError, match=r"resnet.arch allows resnet34, but faces weights are made for .*\(resnet18\)"):
        validate_plan({"budget": {"trials": 1}, "space": {"resnet": {**resnet, "arch": "resnet34"}}}, "test")
    with pytest.raises(InputError, match="cannot start from the faces weights"):
        validate_plan({"budget": {"trials": 1}, "pretraining": {"weights": "faces"}}, "test")


def test_what_a_plan_says_of_pretraining_leaves_the_other_defaults():
    plan = validate_plan({"budget": {"trials": 1}, "pretraining": {"epochs": 3}}, "test")
    assert plan.pretraining == PRETRAINING.model_copy(update={"epochs": 3})


def test_paths_of_weights_are_made_absolute():
    space = {"resnet": {"weights": ["none", "mine.pth"]}, "svm": {"features": {"weights": ["faces", "mine.pth"]}}}
    plan = absolute(validate_plan({"budget": {"trials": 1}, "space": space}, "test"))
    assert plan.space.resnet.weights == ("none", str(Path("mine.pth").resolve()))
    assert plan.space.svm.features.weights == ("faces", str(Path("mine.pth").resolve()))


def test_embeddings_need_the_stem_they_were_pretrained_with():
    features = {"kind": "embedding", "stem": ["imagenet", "half"]}
    for made in ("imagenet", "half"):
        plan = {"budget": {"trials": 1}, "space": {"svm": {"features": features}}, "pretraining": {"stem": made}}
        with pytest.raises(InputError, match=rf"svm.features.stem allows .*pretraining.stem \({made}\) alone"):
            validate_plan(plan, "test")
    plan["space"]["svm"]["features"]["stem"] = "half"
    assert validate_plan(plan, "test").pretraining.stem == "half"


def test_a_date_that_does_not_exist_is_told_in_a_sentence(tmp_path: Path):
    (tmp_path / "plan.yaml").write_text("seed: 2020-13-45\n")
    with pytest.raises(InputError, match="not valid YAML"):
        read_plan(tmp_path / "plan.yaml")


def test_a_point_leaves_out_what_the_space_fixes_or_the_default_says(plan_file):
    settings = ["points=[{family: svm, C: 5, features: {hog_cell: 6}}]", "space.svm.features.pca=64"]
    plan = read_plan(plan_file, settings)
    (config,) = plan.configs_of_points
    assert isinstance(config, SvmConfig)
    assert (config.kernel, config.C, config.features.hog_cell, config.features.pca) == ("rbf", 5.0, 6, 64)
    write_plan(plan, plan_file)
    assert read_plan(plan_file) == plan


def test_a_config_copied_from_a_result_is_a_point(plan_file):
    config = SvmConfig(kernel="linear", C=0.5).model_dump(mode="json")
    assert read_plan(plan_file, flags={"points": [config]}).configs_of_points == (SvmConfig(kernel="linear", C=0.5),)


def test_paths_of_weights_in_points_are_made_absolute():
    space = {"resnet": {"weights": ["none", "mine.pth"], "epochs": 3}}
    points = [{"family": "resnet", "weights": "mine.pth", "unfreeze": 1}, {"family": "resnet", "weights": "none"}]
    plan = absolute(validate_plan({"budget": {"trials": 1}, "space": space, "points": points}, "test"))
    mine, none = plan.configs_of_points
    assert (mine.weights, none.weights) == (str(Path("mine.pth").resolve()), "none")


def test_a_cluster_that_grows_is_not_this_machine():
    assert validate_plan({"budget": {"trials": 1}, "cluster": {"address": "auto", "autoscale": 8}}, "plan")
    with pytest.raises(InputError, match="autoscale is for a cluster"):
        validate_plan({"budget": {"trials": 1}, "cluster": {"autoscale": 8}}, "plan")


@pytest.mark.parametrize(
    ("text", "limit"),
    [("", 10**10), ("cache: off", None), ("cache: 'off'", None), ("cache: 2.5", 2_500_000_000), ("cache: 1", 10**9)],
)
def test_shared_work_has_a_size_or_is_off(tmp_path, text, limit):
    path = tmp_path / "plan.yaml"
    path.write_text(f"budget: {{trials: 1}}\n{text}\n")
    plan = read_plan(path)
    assert plan.cache_bytes == limit
    write_plan(plan, tmp_path / "saved.yaml")
    assert read_plan(tmp_path / "saved.yaml") == plan


@pytest.mark.parametrize("value", [True, "on", "5 GB", 0, -1, None])
def test_any_other_size_of_shared_work_is_refused(value):
    with pytest.raises(InputError, match="cache"):
        validate_plan({"budget": {"trials": 1}, "cache": value}, "test")


def test_augmented_views_are_shared_only_if_trials_can_have_the_same():
    def views(**resnet):
        return validate_plan({"budget": {"trials": 1}, "space": {"resnet": resnet}}, "test").shared_views

    assert views(augment=[0.2, 0.4]) == views(augment=0.3, erasing=[0, 0.5]) > 0
    assert views() == views(augment=0.3, erasing={"low": 0.0, "high": 0.5}) == 0


def test_a_run_of_an_earlier_version_can_be_continued_and_one_of_another_plan_cannot(tmp_path):
    plan, run = validate_plan({"budget": {"trials": 3}}, "test"), RunFolder(tmp_path)
    write_plan(plan, run.plan)
    saved = yaml.safe_load(run.plan.read_text())
    del saved["known_points"]  # a field that came later
    run.plan.write_text(yaml.safe_dump(saved))
    check_same_search(plan.model_copy(update={"budget": Budget(trials=9)}), run)
    with pytest.raises(InputError, match=r"another plan \(seed, known_points differ\)"):
        check_same_search(plan.model_copy(update={"seed": 7, "known_points": False}), run)


LIMITS = ["speed <= 20", "val_accuracy >= 70", "latency_ms <= 0", "model_mb >= 0"]


def test_all_wrong_constraints_are_told_with_their_field_beside_other_mistakes():
    values = {"budget": {"trials": 3}, "startup_trials": -1, "constraints": LIMITS}
    with pytest.raises(InputError) as refused:
        validate_plan(values, "plan.yaml")
    text = str(refused.value)
    assert "constraints: 'speed' is not measured" in text
    assert "val_accuracy is never above 1; received 'val_accuracy >= 70'" in text
    assert "latency_ms is never below 0; received 'latency_ms <= 0'" in text
    assert "startup_trials" in text
