from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial
from pydantic import ValidationError

from spaces.family import Family
from spaces.features import FeatureConfig, FeatureSpace
from spaces.forest import ForestConfig
from spaces.joint import JointSpace, parse_config
from spaces.resnet import ResnetConfig
from spaces.svm import SvmConfig


def suggest(space: JointSpace, seed: int) -> tuple[Any, dict[str, Any]]:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
    return space.suggest(trial), trial.params


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31))
def test_every_suggestion_survives_writing_and_reading(seed: int):
    config, _ = suggest(JointSpace(), seed)
    assert parse_config(config.model_dump(mode="json")) == config


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31))
def test_the_family_comes_first_and_only_its_parameters_follow(seed: int):
    config, params = suggest(JointSpace(), seed)
    names = list(params)
    assert names[0] == "family"
    assert all(name.startswith(f"{config.family}.") for name in names[1:])


def test_all_families_are_suggested_and_only_those_asked_for():
    drawn = {suggest(JointSpace(), seed)[0].family for seed in range(40)}
    assert drawn == set(Family)
    assert {suggest(JointSpace(families=("forest",)), seed)[0].family for seed in range(5)} == {"forest"}


def test_parameters_a_choice_leaves_unused_are_not_asked_for():
    answers = {"family": "svm", "svm.kernel": "linear", "svm.C": 1.0, "svm.class_weight": "none"}
    answers |= {f"svm.features.{name}": value for name, value in FEATURES.items()}
    linear = FixedTrial(answers)
    config = JointSpace().suggest(linear)
    assert isinstance(config, SvmConfig)
    assert config.class_weight == "none"
    assert set(linear.params) == set(answers)


FEATURES = {"kind": "pixels", "contrast": "clahe", "pca": 0, "mirror": False, "shift": 0, "flip": True}


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ({"kind": "pixels"}, set()),
        ({"kind": "hog"}, {"hog_cell", "hog_signed"}),
        ({"kind": "lbp"}, {"lbp_cell"}),
        ({"kind": "hog+lbp"}, {"hog_cell", "hog_signed", "lbp_cell"}),
        ({"kind": "pixels", "pca": 128}, {"whiten", "discriminants"}),
    ],
)
def test_features_ask_for_what_their_kind_uses(answers, asked):
    given = {"hog_cell": 6, "hog_signed": True, "lbp_cell": 12, "whiten": True, "discriminants": "only"}
    trial = FixedTrial({f"x.{name}": value for name, value in (FEATURES | given | answers).items()})
    config = FeatureSpace().suggest(trial, "x")
    assert set(trial.params) == {f"x.{name}" for name in FEATURES.keys() | asked}
    assert config == FeatureConfig(**FEATURES | answers | {name: given[name] for name in asked})


@pytest.mark.parametrize("seed", range(20))
def test_a_backbone_of_random_weights_is_trained_as_a_whole(seed):
    config, params = suggest(JointSpace(families=("resnet",)), seed)
    assert config.unfreeze == 5
    assert "resnet.unfreeze" not in params


def test_a_single_value_fixes_a_parameter():
    space = JointSpace.model_validate({"families": "svm", "svm": {"C": 3, "kernel": "rbf", "features": {"pca": 64}}})
    config, _ = suggest(space, 0)
    assert (config.C, config.kernel, config.features.pca) == (3.0, "rbf", 64)


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"svm": {"C": {"low": -1, "high": 3}}}, "C allows -1.0, but input should be greater than 0"),
        ({"svm": {"C": {"low": 4, "high": 3}}}, "low must not be above high"),
        ({"svm": {"coef0": {"low": 0, "high": 3, "log": True}}}, "a log scale needs low above 0"),
        ({"svm": {"kernel": ["cubic"]}}, "'linear', 'rbf', 'poly' or 'sigmoid'"),
        ({"svm": {"kernel": []}}, "at least 1 item"),
        ({"svm": {"degree": [9]}}, "degree allows 9"),
        ({"svm": {"features": {"kind": "hog+words"}}}, "'hog\\+lbp'"),
        ({"svm": {"features": {"shift": 3}}}, "shift"),
        ({"svm": {"class_weight": "heavy"}}, "'balanced' or 'none'"),
        ({"forest": {"depth": {"low": 0, "high": 3}}}, "depth allows 0"),
        ({"resnet": {"unfreeze": [6]}}, "less than or equal to 5"),
        ({"resnet": {"speed": 3}}, "Extra inputs"),
        ({"families": ["svm", "svm"]}, "named twice"),
        ({"families": ["bayes"]}, "'svm', 'forest' or 'resnet'"),
    ],
)
def test_an_impossible_space_is_refused_before_anything_runs(values, rule):
    with pytest.raises(ValidationError, match=rule):
        JointSpace.model_validate(values)


@pytest.mark.parametrize(
    "values",
    [
        {"family": "svm", "C": 0},
        {"family": "svm", "gamma": -1.0},
        {"family": "svm", "degree": 7},
        {"family": "svm", "class_weight": "heavy"},
        {"family": "svm", "features": {"lbp_cell": 7}},
        {"family": "svm", "features": {"contrast": "strong"}},
        {"family": "forest", "trees": 0},
        {"family": "forest", "max_features": 1.5},
        {"family": "resnet", "dropout": 1.0},
        {"family": "resnet", "image_size": 16},
        {"family": "resnet", "batch_size": 1},
        {"family": "bayes"},
        {"family": "svm", "speed": 1},
        {},
    ],
)
def test_configs_are_bounded(values):
    with pytest.raises(ValidationError):
        parse_config(values)


def test_configs_are_frozen():
    for config in (SvmConfig(), ForestConfig(), ResnetConfig()):
        with pytest.raises(ValidationError, match="frozen"):
            config.family = "svm"
