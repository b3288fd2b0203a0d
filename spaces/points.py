"""Points: configs that are known to be good, written by hand or copied from a result, as a space would suggest them."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from spaces.forest import ForestConfig
from spaces.joint import JointSpace, parse_config
from spaces.resnet import ResnetConfig
from spaces.svm import SvmConfig


def point_of(space: JointSpace, values: Mapping[str, Any]) -> SvmConfig | ForestConfig | ResnetConfig:
    """The config that `values` mean in `space`.

    What they leave out takes the value to which the space fixes it, else the default of the config's class. A value
    outside the space is refused: Optuna could neither suggest it nor be told of a trial that has it.

    Args:
        space: The space that is searched.
        values: `family` and fields of its config.

    Raises:
        ValueError: If the config's class does not take a value, the space does not hold it, or the config has no use
            for it.
    """
    if "family" not in values:
        raise ValueError(f"family: a point names its family; allowed are {', '.join(space.families)}")
    try:
        config = parse_config(dict(values))
    except ValidationError as error:
        raise ValueError(_first(error)) from None
    given = parameters(config, exclude_unset=True)
    point = space.suggest(_Answers(given, parameters(config)))
    held = parameters(point)
    for name, value in given.items():
        if held[name] != value:
            raise ValueError(f"{name} is {value!r}, but this point has no use for it; leave it out")
    return point


def parameters(config: BaseModel, exclude_unset: bool = False) -> dict[str, Any]:
    """The suggestions that lead to `config`: `family`, and `family.field` for each field.

    Args:
        config: A config of any family.
        exclude_unset: Whether to leave out what was not given when the config was made.
    """
    values = config.model_dump(exclude_unset=exclude_unset)
    family = values.pop("family")
    return {"family": family, **_flat(values, family)}


def asked(space: JointSpace, config: BaseModel) -> dict[str, Any]:
    """Those of `parameters` that `space` asks for on its way to `config`, none that its choices leave unused."""
    record = _Record(parameters(config))
    space.suggest(record)
    return record.asked


def _flat(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{prefix}.{name}"
        flat |= _flat(value, path) if isinstance(value, dict) else {path: value}
    return flat


def _first(error: ValidationError) -> str:
    item = error.errors()[0]
    field = ".".join(str(part) for part in item["loc"]) or "point"
    message = item["msg"].removeprefix("Value error, ")
    message = "no such field" if item["type"] == "extra_forbidden" else message[0].lower() + message[1:]
    return f"{field}: {message} (received {item['input']!r})"


class _Answers:
    """Answers the questions of a space with the values of a point."""

    def __init__(self, given: dict[str, Any], defaults: dict[str, Any]) -> None:
        self._given = given
        self._defaults = defaults

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        if name not in self._given and len(choices) == 1:
            return choices[0]
        allowed = ", ".join(str(choice) for choice in choices)
        return self._checked(name, self._defaults[name] in choices, allowed)

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        value: float = self._checked(name, low <= self._defaults[name] <= high, f"{low:g} to {high:g}")
        return value

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        value: int = self._checked(name, low <= self._defaults[name] <= high, f"{low} to {high}")
        return value

    def _checked(self, name: str, is_searched: bool, allowed: str) -> Any:
        value = self._defaults[name]
        if not is_searched:
            how = "is" if name in self._given else "is left out and by default"
            raise ValueError(f"{name} {how} {value!r}, which is not searched; allowed are {allowed}")
        return value


class _Record:
    """Answers the questions of a space with the parameters of a config, and remembers them."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values
        self.asked: dict[str, Any] = {}

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self._answer(name)

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        value: float = self._answer(name)
        return value

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        value: int = self._answer(name)
        return value

    def _answer(self, name: str) -> Any:
        self.asked[name] = self._values[name]
        return self.asked[name]
