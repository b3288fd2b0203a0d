"""The plan: one YAML file that says everything about a search, read strictly and saved with the run."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cluster.address import LOCAL, check_address
from results.run_folder import write_whole
from spaces.errors import InputError
from spaces.family import Family
from spaces.fidelity import Fidelity
from spaces.joint import JointSpace
from spaces.resnet import Arch, ResnetConfig
from trainables.data.spec import DataSpec


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Budget(_Section):
    """When a search ends: at whichever comes first.

    Attributes:
        trials: Number of trials.
        minutes: Wall-clock minutes of searching, interruptions not counted.
        target: Validation accuracy of the incumbent.
    """

    trials: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    target: float | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.trials is None and self.minutes is None:
            raise ValueError("a search needs an end: give trials, minutes or both (target alone may never be met)")
        return self


class FamilyResources(_Section):
    """What one trial of a family occupies.

    Attributes:
        cpus: CPUs, which are also the threads it may use.
        gpus: GPUs, a fraction of one or whole ones; by default one for resnet where there are any, none for the others.
    """

    cpus: int = Field(default=1, ge=1)
    gpus: float | None = Field(default=None, ge=0)

    @field_validator("gpus")
    @classmethod
    def _whole_above_one(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise ValueError(f"above one GPU only whole numbers can be had; received {gpus:g}")
        return gpus


class Resources(_Section):
    """Resources by family; families with equal resources share warm workers."""

    svm: FamilyResources = FamilyResources()
    forest: FamilyResources = FamilyResources()
    resnet: FamilyResources = FamilyResources()

    def of(self, family: Family) -> FamilyResources:
        """What one trial of `family` occupies."""
        resources: FamilyResources = getattr(self, family)
        return resources


class Cluster(_Section):
    """Where the search runs.

    Attributes:
        address: `local`: Ray is started on this machine, on loopback, for the time of the search. `auto`: the cluster
            that runs on this machine. `host:port`: the one with that head. What ran before runs on afterwards.
        cpus: Logical CPUs that `local` offers, default all.
        gpus: Logical GPUs that `local` offers, default all.
    """

    address: str = LOCAL
    cpus: int | None = Field(default=None, ge=1)
    gpus: int | None = Field(default=None, ge=0)

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, address: str) -> str:
        return check_address(address)

    @model_validator(mode="after")
    def _offers_its_own(self) -> Self:
        if self.address != LOCAL and (self.cpus, self.gpus) != (None, None):
            raise ValueError(f"cpus and gpus are for address local; the cluster at {self.address} offers what it has")
        return self


class Fake(_Section):
    """Trials that wait instead of learning, to time and test everything else.

    Attributes:
        seconds: How long a trial waits until full fidelity.
    """

    seconds: float = Field(ge=0)


PRETRAINING = ResnetConfig(
    epochs=12,
    batch_size=128,
    head_lr=2e-3,
    backbone_lr=2e-3,
    schedule="one_cycle",
    label_smoothing=0.1,
    augment=0.5,
    ema=0.995,
    image_size=64,
)


class Plan(_Section):
    """A search.

    Attributes:
        seed: Fixes the suggestions and every learner; the split has its own seed in `data.protocol`.
        data: The faces and the three-class protocol.
        space: What may be tried.
        fidelity: The scale of fidelities; ASHA's rungs follow from it.
        startup_trials: How many trials must have ended before TPE models the space; until then suggestions are random,
            and the first ones take the families in turn.
        budget: When the search ends.
        pretraining: How the backbone of `faces` weights is pretrained, where the space names them.
        resources: What a trial occupies, by family.
        cluster: Where the search runs.
        fake: If given, trials wait instead of learning.
    """

    seed: int = Field(default=0, ge=0, lt=2**31)
    data: DataSpec = DataSpec()
    space: JointSpace = JointSpace()
    fidelity: Fidelity = Fidelity()
    startup_trials: int = Field(default=10, ge=1)
    budget: Budget
    pretraining: ResnetConfig = PRETRAINING
    resources: Resources = Resources()
    cluster: Cluster = Cluster()
    fake: Fake | None = None

    @property
    def needs_pretraining(self) -> bool:
        """Whether a trial may start from `faces` weights."""
        return any(weights == "faces" for _, _, weights in self.starting_weights)

    @property
    def starting_weights(self) -> tuple[tuple[str, Arch, str], ...]:
        """What networks may start from: the field that names the architecture, the architecture, and its weights."""
        space, found = self.space, []
        if Family.RESNET in space.families:
            found += [("resnet.arch", arch, weights) for arch in space.resnet.arch for weights in space.resnet.weights]
        for family, features in ((Family.SVM, space.svm.features), (Family.FOREST, space.forest.features)):
            if family in space.families and "embedding" in features.kind:
                field = f"{family}.features.backbone"
                found += [(field, arch, weights) for arch in features.backbone for weights in features.weights]
        return tuple(found)

    @field_validator("pretraining", mode="before")
    @classmethod
    def _over_the_defaults(cls, value: Any) -> Any:
        """What a plan says of pretraining changes the defaults above, not those of a fine-tuning."""
        return {**PRETRAINING.model_dump(), **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _one_pretrained_backbone(self) -> Self:
        for field, arch, weights in self.starting_weights:
            if weights == "faces" and arch != self.pretraining.arch:
                raise ValueError(
                    f"space.{field} allows {arch}, but faces weights are made for pretraining.arch "
                    f"({self.pretraining.arch}) alone"
                )
        embedded = any("backbone" in field and weights == "faces" for field, _, weights in self.starting_weights)
        if embedded and self.pretraining.stem != "imagenet":
            raise ValueError("pretraining.stem: embeddings see through the stem imagenet; received small")
        if self.pretraining.weights == "faces":
            raise ValueError("pretraining.weights: pretraining cannot start from the faces weights that it makes")
        return self


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


def validate_plan(values: Mapping[str, Any], where: str) -> Plan:
    """The plan of plain `values`; `where` names their origin in messages.

    Raises:
        InputError: Naming every field that breaks a rule, the value received and the rule.
    """
    try:
        return Plan.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{where}: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """All broken rules in one text: field, value received, rule."""
    errors = error.errors()
    paths = [item["loc"] for item in errors]
    lines = []
    for item in errors:
        path = item["loc"]
        if any(other != path and other[: len(path)] == path for other in paths):
            continue  # the same mistake is told more precisely further down
        field = ".".join(str(part) for part in path if part not in ("range", "choices")) or "plan"
        own = item["type"] == "value_error"
        message = item["msg"].removeprefix("Value error, ")
        message = message if own else message[0].lower() + message[1:]
        if item["type"] == "extra_forbidden":
            message = "no such field"
        received = "" if own or item["type"] == "missing" else f" (received {item['input']!r})"
        lines.append(f"{field}: {message}{received}")
    return lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} fields are wrong", *lines])


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
            "pretraining": plan.pretraining.model_copy(update={"weights": start}),
        }
    )


def write_plan(plan: Plan, path: Path) -> None:
    """Save `plan` with every default written out."""
    write_whole(path, yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False))


def _absolute_weights(weights: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(each if each in ("none", "imagenet", "faces") else _absolute(each) for each in weights)


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())


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
