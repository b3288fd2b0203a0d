"""Plans as YAML files: read strictly, with changes from the command line, and saved with every default."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from results.run_folder import write_whole
from search.plan import Plan, validate_plan
from spaces.errors import InputError
from spaces.family import Family
from trainables.storage import is_url


def read_plan(path: Path, settings: Sequence[str] = (), flags: Mapping[str, Any] | None = None) -> Plan:
    """The plan in the YAML file `path`, with `settings` ("budget.trials=10") and `flags` put over it.

    A flag maps the path of a field to its value; one whose value is None was not given.

    Raises:
        InputError: If the file is missing, is not YAML or breaks the plan's rules; all broken rules are named at once.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the plan cannot be read ({error})") from error
    values = _parse(text, str(path))
    if not isinstance(values, dict):
        raise InputError(f"{path}: a plan is a mapping of fields, found {type(values).__name__}")
    for setting in settings:
        field, separator, text = setting.partition("=")
        if not separator or not all(field.strip().split(".")):
            raise InputError(f"--set {setting}: expected field.path=value, for example budget.trials=10")
        _put(values, field.strip(), _parse(text, f"--set {setting}"))
    for field, value in (flags or {}).items():
        if value is not None:
            _put(values, field, value)
    return validate_plan(values, str(path))


def write_plan(plan: Plan, path: Path) -> None:
    """Save `plan` with every default written out."""
    write_whole(path, yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False))


def absolute(plan: Plan) -> Plan:
    """`plan` with the paths of its data and weights made absolute, so that its run can be used from any folder."""
    data = plan.data
    if data.source != "demo":
        data = data.model_copy(update={"source": _absolute(data.source)})
    if data.crop is not None and data.crop.model is not None:
        data = data.model_copy(update={"crop": data.crop.model_copy(update={"model": _absolute(data.crop.model)})})
    space = plan.space
    updates = {}
    for family in (Family.SVM, Family.FOREST):
        section = getattr(space, family)
        features = section.features.model_copy(update={"weights": _absolute_weights(section.features.weights)})
        updates[str(family)] = section.model_copy(update={"features": features})
    resnet = space.resnet.model_copy(update={"weights": _absolute_weights(space.resnet.weights)})
    (start,) = _absolute_weights((plan.pretraining.weights,))
    return plan.model_copy(
        update={
            "data": data,
            "space": space.model_copy(update={**updates, "resnet": resnet}),
            "points": tuple(_absolute_point(point) for point in plan.points),
            "warm_start": tuple(_absolute(path) for path in plan.warm_start),
            "pretraining": plan.pretraining.model_copy(update={"weights": start}),
        }
    )


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader, refusing a key that is given twice instead of silently keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a plain word", key.start_mark)
            if key.value in seen:
                problem = f"the key {key.value!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _absolute_weights(weights: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(each if each in ("none", "imagenet", "faces") else _absolute(each) for each in weights)


def _absolute_point(point: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: _absolute_point(value) if isinstance(value, dict) else value for name, value in point.items()
    }
    if "weights" in values:
        (values["weights"],) = _absolute_weights((values["weights"],))
    return values


def _absolute(path: str) -> str:
    return path if is_url(path) else str(Path(path).expanduser().resolve())


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{where}, line {line}: not valid YAML ({error.problem})") from None
    except (yaml.YAMLError, ValueError) as error:  # a date that does not exist is a ValueError
        raise InputError(f"{where}: not valid YAML ({error})") from None


def _put(values: dict[str, Any], field: str, value: Any) -> None:
    """Put `value` over `values` at the dotted path `field`."""
    keys = field.split(".")
    node = values
    for key in keys[:-1]:
        child = node.setdefault(key, {})
        if not isinstance(child, dict):
            raise InputError(f"--set {field}: {key} is {child!r}, not a group of fields")
        node = child
    node[keys[-1]] = value
