"""The joint space: a conditional tree with the family as its first choice."""

from typing import Annotated, Any, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from spaces.domain import Choices, Suggester
from spaces.family import Family
from spaces.forest import ForestConfig, ForestSpace
from spaces.resnet import ResnetConfig, ResnetSpace
from spaces.svm import SvmConfig, SvmSpace

Config: TypeAlias = Annotated[SvmConfig | ForestConfig | ResnetConfig, Field(discriminator="family")]

_CONFIG: TypeAdapter[SvmConfig | ForestConfig | ResnetConfig] = TypeAdapter(Config)


def parse_config(values: dict[str, Any]) -> SvmConfig | ForestConfig | ResnetConfig:
    """The typed config of `values`, a dict with a `family` key as `config.model_dump()` writes it.

    Raises:
        pydantic.ValidationError: If a value is missing, unknown or out of bounds.
    """
    return _CONFIG.validate_python(values)


class JointSpace(BaseModel):
    """The union of the spaces of the searched families.

    Attributes:
        families: The families searched, each at most once.
        svm: What may be tried of svm; likewise `forest` and `resnet`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    families: Choices[Family] = tuple(Family)
    svm: SvmSpace = SvmSpace()
    forest: ForestSpace = ForestSpace()
    resnet: ResnetSpace = ResnetSpace()

    @model_validator(mode="after")
    def _families_once(self) -> Self:
        if len(set(self.families)) < len(self.families):
            raise ValueError(f"a family is named twice in {', '.join(self.families)}; each may be named once")
        return self

    def suggest(self, trial: Suggester) -> SvmConfig | ForestConfig | ResnetConfig:
        """Ask `trial` for a family, then for that family's config; a searched parameter is named `family.field`."""
        family = Family(trial.suggest_categorical("family", [str(family) for family in self.families]))
        spaces: dict[Family, SvmSpace | ForestSpace | ResnetSpace] = {
            Family.SVM: self.svm,
            Family.FOREST: self.forest,
            Family.RESNET: self.resnet,
        }
        return spaces[family].suggest(trial)


def suggestions(config: BaseModel) -> dict[str, Any]:
    """The suggestions that lead to `config`, by name: `family`, and `family.field` for each field, used or not."""
    values = config.model_dump()
    family = values.pop("family")
    return {"family": family, **_flat(values, family)}


def _flat(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{prefix}.{name}"
        flat |= _flat(value, path) if isinstance(value, dict) else {path: value}
    return flat
