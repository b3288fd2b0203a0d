"""The families of models a search chooses from."""

from enum import StrEnum


class Family(StrEnum):
    """A family of models; its value is the word used in plans, configs, measurements and tables."""

    SVM = "svm"
    FOREST = "forest"
    RESNET = "resnet"
