"""The plan, which says everything about a search; `plan_file` reads it from YAML and saves it with the run."""

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from results.goals import SHARES, Goals, Objective, check_constraint, check_objectives
from search.budget import Budget
from search.mistakes import explain
from search.sections import CacheSize, Cluster, Fake, Resources, Section
from spaces.domain import FloatRange
from spaces.errors import InputError
from spaces.family import Family
from spaces.fidelity import Fidelity
from spaces.forest import ForestConfig
from spaces.grid import grid_of
from spaces.joint import JointSpace
from spaces.known import known_points
from spaces.points import point_of
from spaces.resnet import FROM_SCRATCH, ResnetConfig, Stem
from spaces.svm import SvmConfig
from trainables.data.spec import DataSpec

Sampler: TypeAlias = Literal["tpe", "random", "gp", "cmaes", "grid"]
SchedulerName: TypeAlias = Literal["asha", "hyperband", "median", "none"]
Tracker: TypeAlias = Literal["mlflow", "wandb"]
Rungs: TypeAlias = Literal["family", "shared", "seconds"]

ALL_STAGES = 5
# So many epochs pass before a trial sees a view of a face again.
SHARED_VIEWS = 8

PRETRAINING = FROM_SCRATCH


class Plan(Section):
    """A search.

    Attributes:
        seed: Fixes the suggestions and every learner; the split has its own seed in `data.protocol`.
        data: The faces and the three-class protocol.
        space: What may be tried.
        points: Configs that are known to be good, each `family` and fields of it; they are tried first, before the
            start-up trials. What one leaves out takes the only value the space allows, else the config's default.
        known_points: Whether the first start-up trial of each family of which there is no point is one that did well in
            earlier searches of faces (`spaces.known`), as near to it as the space allows. The samplers `random` and
            `grid` never begin so.
        fidelity: The scale of fidelities; the rungs follow from it.
        startup_trials: How many trials, points aside, must have ended before TPE models the space; after the known
            points suggestions are random until then, and the first ones take the families in turn.
        sampler: `tpe` learns from the trials so far, stopped ones too, and is better where there are many; of a third
            of its suggestions all but the family is random. `random` is a baseline, for an unbiased picture of the
            space. `gp` (Gaussian processes) is for few and dear trials of mostly numeric parameters, with little
            stopping: it learns from finished trials alone. `cmaes` is for many cheap trials of numeric parameters. Both
            have a study for each family, and TPE chooses the family. `grid` tries every config of a space of listed
            values: for tables in which each combination is wanted.
        objectives: What is optimized, of val_accuracy, val_macro_f1, val_log_loss, latency_ms (to predict one face) and
            model_mb. Rungs, incumbent and winner go by the first; several give a Pareto front.
        constraints: Limits such as `latency_ms <= 20`. A trial that breaks one cannot win, and TPE avoids its like; at
            rungs it is compared with others that break one, or ended if it is too slow or large.
        warm_start: Earlier runs to learn from, paths or URLs. Their best trial of each family is tried first; their
            other trials, those that failed left out, tell the sampler where to look: on the same data, pretraining and
            rungs, and the same machine where latency counts, like trials of this run, otherwise by their order alone,
            if it is `tpe` with one objective.
        scheduler: `asha` lets only the best 1/eta at a rung go on: for budgets that cannot train most trials to the
            end. `hyperband` judges some trials from a later rung on: where nobody knows how much early figures say.
            `median` stops the worse half: gentler, where early figures say little of late ones. `none` trains every
            trial to the end: for learning curves, or where trials are cheap.
        promotion: Whether ASHA pauses every trial at each rung and takes up the best later, instead of stopping trials
            for good: no worker then continues a mediocre trial because it came first. For long searches, since the
            first model at full fidelity comes much later, and a checkpoint is read whenever a trial goes on. Only with
            the scheduler `asha`.
        rungs: Whom a trial is compared with: its own `family`, so that slow starters live, or all (`shared`), so that
            a weak family gets no share by right, or all that have spent as many `seconds`, set-up included, so that a
            dear trial must be worth its cost. Unused by the scheduler `none`. In each case trials that `tpe` drew at
            random are compared among themselves, as soon as there are a few.
        first_seconds: Where the first of the rungs in seconds lies; the next ones follow by the factor eta.
        margin: How far below the bar of `asha` or `hyperband`, in the objective, a trial may be and still go on, since
            measurements are noisy and early ones say little. `learned` takes it for each rung from the trials that went
            on: one standard error of what they reported next, as foretold from the rung, and for accuracy and macro F1
            never less than that of the difference of two such values on the validation faces. The first four at a rung
            all go on, unless they pause or the time that is left is short; of the worst third none does. A number is in
            units of the first objective.
        budget: When the search ends.
        pretraining: How the backbone of `faces` weights is pretrained, where the space names them.
        cache: How large the work that trials share may become on each node, in GB, or `off`.
        models: How many models are kept of each family, the best ones; validation probabilities are always kept.
        resources: What a trial occupies, by family.
        cluster: Where the search runs.
        track: A tracker that is told of trials as well; MLFLOW_TRACKING_URI, or wandb's own settings, say where it is.
        fake: If given, trials wait instead of learning.
    """

    seed: int = Field(default=0, ge=0, lt=2**31)
    data: DataSpec = DataSpec()
    space: JointSpace = JointSpace()
    points: tuple[dict[str, Any], ...] = ()
    known_points: bool = True
    fidelity: Fidelity = Fidelity()
    startup_trials: int = Field(default=10, ge=1)
    sampler: Sampler = "tpe"
    objectives: tuple[Objective, ...] = ("val_accuracy",)
    constraints: tuple[str, ...] = ()
    warm_start: tuple[str, ...] = ()
    scheduler: SchedulerName = "asha"
    promotion: bool = False
    rungs: Rungs = "family"
    first_seconds: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    margin: Literal["learned"] | Annotated[float, Field(ge=0, allow_inf_nan=False)] = "learned"
    budget: Budget
    pretraining: ResnetConfig = PRETRAINING
    cache: CacheSize = 10.0
    models: int = Field(default=10, ge=1)
    resources: Resources = Resources()
    cluster: Cluster = Cluster()
    track: Tracker | None = None
    fake: Fake | None = None

    @property
    def goals(self) -> Goals:
        """The objectives and constraints."""
        return Goals(objectives=self.objectives, constraints=self.constraints)

    @property
    def configs_of_points(self) -> tuple[SvmConfig | ForestConfig | ResnetConfig, ...]:
        """The configs that `points` mean in `space`."""
        return tuple(point_of(self.space, point) for point in self.points)

    def known_configs(self, tried: Collection[str] = ()) -> tuple[SvmConfig | ForestConfig | ResnetConfig, ...]:
        """The configs with which families begin of which there is no point, and none in `tried`."""
        if not self.known_points or self.sampler in ("random", "grid"):
            return ()
        begun = {config.family for config in self.configs_of_points} | set(tried)
        found = [config for config in known_points(self.space) if config.family not in begun]
        return tuple(found[: self.startup_trials])

    @property
    def cache_bytes(self) -> int | None:
        """How large shared work may become, None if nothing is to be shared."""
        return None if self.cache == "off" else int(self.cache * 1e9)

    @property
    def shared_views(self) -> int:
        """How many augmented views of each training face networks with frozen stages share.

        Zero where the strength of augmentation or erasing is drawn from a range: no two trials would have the same.
        """
        resnet = self.space.resnet
        ranges = any(isinstance(domain, FloatRange) for domain in (resnet.augment, resnet.erasing))
        return 0 if ranges else SHARED_VIEWS

    @property
    def needs_pretraining(self) -> bool:
        """Whether a trial may start from `faces` weights."""
        return any(weights == "faces" for _, _, weights in self.starting_weights)

    @property
    def starting_weights(self) -> tuple[tuple[str, str, str], ...]:
        """What networks may start from: the field that names the architecture, the architecture, and its weights."""
        space = self.space
        found: list[tuple[str, str, str]] = []
        if Family.RESNET in space.families:
            found += [("resnet.arch", arch, weights) for arch in space.resnet.arch for weights in space.resnet.weights]
        for family, features in ((Family.SVM, space.svm.features), (Family.FOREST, space.forest.features)):
            if family in space.families and "embedding" in features.kind:
                field = f"{family}.features.backbone"
                found += [(field, arch, weights) for arch in features.backbone for weights in features.weights]
        return tuple(found)

    @property
    def _stems_of_pretrained_embeddings(self) -> tuple[tuple[str, Stem], ...]:
        """The stems through which embeddings of `faces` weights may see, each with the field that names it."""
        return tuple(
            (f"{family}.features.stem", stem)
            for family, features in ((Family.SVM, self.space.svm.features), (Family.FOREST, self.space.forest.features))
            if family in self.space.families and "embedding" in features.kind and "faces" in features.weights
            for stem in features.stem
        )

    @field_validator("points")
    @classmethod
    def _searched(cls, points: tuple[dict[str, Any], ...], info: ValidationInfo) -> tuple[dict[str, Any], ...]:
        wrong = []
        for number, point in enumerate(points if "space" in info.data else ()):
            try:
                point_of(info.data["space"], point)
            except ValueError as error:
                wrong.append(f"point {number}: {error}")
        if wrong:
            raise ValueError("\n".join(wrong))
        return points

    @field_validator("objectives")
    @classmethod
    def _named_once(cls, objectives: tuple[Objective, ...]) -> tuple[Objective, ...]:
        check_objectives(objectives)
        return objectives

    @field_validator("constraints")
    @classmethod
    def _limits(cls, constraints: tuple[str, ...]) -> tuple[str, ...]:
        wrong = []
        for text in constraints:
            try:
                check_constraint(text)
            except ValueError as error:
                wrong.append(str(error))
        if wrong:
            raise ValueError("\n".join(wrong))
        return constraints

    @field_validator("pretraining", mode="before")
    @classmethod
    def _over_the_defaults(cls, value: Any) -> Any:
        """What a plan says of pretraining changes the defaults above, not those of a fine-tuning."""
        return {**PRETRAINING.model_dump(), **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        """What some fields exclude in others is told before anything runs, all at once."""
        wrong = [
            *self._what_the_sampler_cannot(),
            *self._beyond_the_objective(),
            *self._without_promotion(),
            *self._other_backbones(),
            *self._no_pretraining(),
        ]
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    def _what_the_sampler_cannot(self) -> Iterator[str]:
        goals = self.goals
        if self.sampler in ("gp", "cmaes") and (len(goals.objectives) > 1 or goals.constraints):
            yield f"sampler {self.sampler}: takes one objective and no constraints; tpe takes both"
        if self.sampler == "grid":
            try:
                grid_of(self.space)
            except InputError as error:
                yield str(error)

    def _beyond_the_objective(self) -> Iterator[str]:
        """What is in units of the first objective must be possible there."""
        if self.objectives[0] in SHARES:
            for name, value, most in (("budget.target", self.budget.target, 1.0), ("margin", self.margin, 0.5)):
                if isinstance(value, float) and value > most:
                    yield f"{name}: {self.objectives[0]} allows {most:g} at most; received {value:g}"

    def _without_promotion(self) -> Iterator[str]:
        if self.promotion and self.scheduler != "asha":
            yield f"promotion: only the scheduler asha promotes paused trials; received {self.scheduler}"

    def _other_backbones(self) -> Iterator[str]:
        """One backbone is pretrained, and all that start from it look alike."""
        for field, arch, weights in self.starting_weights:
            if weights == "faces" and arch != self.pretraining.arch:
                yield (
                    f"space.{field} allows {arch}, but faces weights are made for pretraining.arch "
                    f"({self.pretraining.arch}) alone"
                )
        for field, stem in self._stems_of_pretrained_embeddings:
            if stem != self.pretraining.stem:
                yield (
                    f"space.{field} allows {stem}, but faces weights are made for pretraining.stem "
                    f"({self.pretraining.stem}) alone"
                )

    def _no_pretraining(self) -> Iterator[str]:
        for field, only in (("unfreeze", ALL_STAGES), ("auxiliary", 0.0)):
            value = getattr(self.pretraining, field)
            if value != only:
                yield f"pretraining.{field}: pretraining takes {only:g} only; received {value:g}"
        if self.pretraining.weights == "faces":
            yield "pretraining.weights: pretraining cannot start from the faces weights that it makes"


def validate_plan(values: Mapping[str, Any], where: str) -> Plan:
    """The plan of plain `values`; `where` names their origin in messages.

    Raises:
        InputError: Naming every field that breaks a rule, the value received and the rule.
    """
    try:
        return Plan.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{where}: {explain(error)}") from None
