"""A config in one short line for people."""

from typing import Any

from pydantic import ValidationError

from spaces.errors import InputError
from spaces.features import FeatureConfig
from spaces.forest import ForestConfig
from spaces.joint import parse_config
from spaces.resnet import STEMMED, ResnetConfig
from spaces.svm import SvmConfig


def describe(config: dict[str, Any]) -> str:
    """What sets a config apart, without what its choices leave unused: `rbf C=3.2 gamma=1.1 hog8 pca=128 mirror`.

    Args:
        config: A config as `model_dump()` writes it.

    Raises:
        InputError: If it is no config of any family.
    """
    try:
        typed = parse_config(config)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"config {config}: {field}: {first['msg']}") from error
    if isinstance(typed, SvmConfig):
        return _svm(typed)
    if isinstance(typed, ForestConfig):
        return _forest(typed)
    return _resnet(typed)


def _svm(config: SvmConfig) -> str:
    words = [config.kernel, f"C={config.C:.3g}"]
    if config.kernel != "linear":
        words.append(f"gamma={config.gamma:.3g}")
    if config.kernel == "poly":
        words.append(f"degree={config.degree}")
    if config.kernel in ("poly", "sigmoid"):
        words.append(f"coef0={config.coef0:.3g}")
    if config.class_weight == "none":
        words.append("unweighted")
    return " ".join([*words, *_features(config.features)])


def _forest(config: ForestConfig) -> str:
    words = [
        config.criterion,
        f"trees={config.trees}",
        f"depth={config.depth}",
        f"leaf={config.min_samples_leaf}",
        f"max_features={config.max_features:.3g}",
    ]
    if config.class_weight == "none":
        words.append("unweighted")
    return " ".join([*words, *_features(config.features)])


def _resnet(config: ResnetConfig) -> str:
    words: list[str] = [config.arch]
    if config.stem != "imagenet" and config.arch in STEMMED:
        words.append(f"{config.stem}_stem")
    words += [
        f"weights={config.weights}",
        f"unfreeze={config.unfreeze}",
        f"epochs={config.epochs}",
        f"batch={config.batch_size}",
        f"head_lr={config.head_lr:.2g}",
    ]
    if config.unfreeze:
        words.append(f"backbone_lr={config.backbone_lr:.2g}")
    if config.unfreeze > 1 and config.stage_decay < 1:
        words.append(f"stage_decay={config.stage_decay:.2g}")
    if config.schedule != "cosine":
        words.append(config.schedule)
    words.append(f"decay={config.weight_decay:.2g}")
    optional = {"dropout": config.dropout, "smoothing": config.label_smoothing, "augment": config.augment}
    optional |= {name: getattr(config, name) for name in ("erasing", "mixup", "cutmix", "auxiliary")}
    words.extend(f"{name}={value:.2g}" for name, value in optional.items() if value)
    if config.ema:
        words.append(f"ema={config.ema:.5g}")
    words.append(f"{config.image_size}px")
    return " ".join([*words, "flip"] if config.flip else words)


def _features(features: FeatureConfig) -> list[str]:
    stem = "" if features.stem == "imagenet" else f":{features.stem}_stem"
    named = {
        "pixels": "pixels",
        "hog": f"hog{features.hog_cell}{'s' if features.hog_signed else ''}",
        "lbp": f"lbp{features.lbp_cell}",
        "embedding": f"{features.backbone}{stem}:{features.weights}:{features.image_size}px",
    }
    words = ["+".join(named[name] for name in features.descriptors)]
    if features.contrast != "none":
        words.append(features.contrast)
    if features.pca:
        words.append(f"pca={features.pca}{' whiten' if features.whiten else ''}")
        if features.discriminants != "none":
            words.append(f"discriminants={features.discriminants}")
    if features.mirror:
        words.append("mirror")
    if features.shift:
        words.append(f"shift={features.shift}")
    if features.flip:
        words.append("flip")
    return words
