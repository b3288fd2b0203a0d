from typing import Any

import optuna
import pytest
from optuna.trial import FixedTrial
from pydantic import ValidationError

from spaces.resnet import ResnetConfig, ResnetSpace


def suggest(space: ResnetSpace) -> tuple[ResnetConfig, dict[str, Any]]:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    return space.suggest(trial), trial.params


@pytest.mark.parametrize(
    ("chosen", "unused"),
    [
        ({"unfreeze": 0}, {"backbone_lr", "stage_decay"}),
        ({"unfreeze": 1}, {"stage_decay"}),
        ({"unfreeze": 2}, set()),
        ({"arch": "vgg16", "unfreeze": 5}, {"stem"}),
    ],
)
def test_a_fine_tuning_is_asked_only_for_what_it_uses(chosen: dict[str, Any], unused: set[str]) -> None:
    space = ResnetSpace.model_validate({"weights": "imagenet"} | chosen)
    config, params = suggest(space)
    assert {name.removeprefix("resnet.") for name in params} == set(ResnetSpace.model_fields) - unused
    assert config.model_dump().items() >= chosen.items()


def test_the_remedies_of_resnets_are_off_until_a_plan_names_them() -> None:
    config, _ = suggest(ResnetSpace())
    for name in ("stem", "stage_decay", "schedule", "erasing", "mixup", "cutmix", "auxiliary", "ema", "flip"):
        assert getattr(config, name) == ResnetConfig.model_fields[name].default


def test_a_config_leads_back_to_its_suggestions() -> None:
    """A resumed search finds the parameters of a trial from its config alone."""
    space = ResnetSpace.model_validate({"arch": ["resnet18", "vgg16"], "stem": ["imagenet", "small"], "ema": [0, 0.99]})
    config, params = suggest(space)
    fixed = FixedTrial({f"resnet.{name}": value for name, value in config.model_dump().items()})
    assert space.suggest(fixed) == config
    assert fixed.params == params


@pytest.mark.parametrize(
    "outside",
    [
        {"arch": "vgg19"},
        {"stem": "large"},
        {"schedule": "linear"},
        {"stage_decay": 0.0},
        {"stage_decay": 1.1},
        {"erasing": 1.1},
        {"mixup": -0.1},
        {"cutmix": 10.1},
        {"auxiliary": -0.1},
        {"ema": 1.0},
        {"flip": "sideways"},
    ],
    ids=str,
)
def test_values_out_of_bounds_are_refused(outside: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ResnetConfig(**outside)
