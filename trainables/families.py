"""From a config to its learner, and from a family to its model; torch is imported only where a resnet is meant."""

from pathlib import Path

from spaces.family import Family
from spaces.forest import ForestConfig
from spaces.resnet import ResnetConfig
from spaces.svm import SvmConfig
from trainables.base import Learner, Model, Task


def build_learner(config: SvmConfig | ForestConfig | ResnetConfig, task: Task) -> Learner:
    """The untrained learner of `config`."""
    if isinstance(config, SvmConfig):
        from trainables.svm import SvmLearner

        return SvmLearner(config, task)
    if isinstance(config, ForestConfig):
        from trainables.forest import ForestLearner

        return ForestLearner(config, task)
    from trainables.resnet import ResnetLearner

    return ResnetLearner(config, task)


def load_model(family: Family, folder: Path) -> Model:
    """The model that a learner of `family` saved in `folder`.

    Raises:
        InputError: If a file is missing or is not what the family writes.
    """
    if family is Family.SVM:
        from trainables.svm import SvmModel

        return SvmModel.load(folder)
    if family is Family.FOREST:
        from trainables.forest import ForestModel

        return ForestModel.load(folder)
    from trainables.resnet import ResnetModel

    return ResnetModel.load(folder)
