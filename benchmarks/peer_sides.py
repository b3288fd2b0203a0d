"""The contenders of `peers.py`: each searches the setting's space on two cores until its time is over."""

import multiprocessing
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from peer_trial import WORKERS, Setting, advance, build, flat_domains, train
from sklearn.base import BaseEstimator, ClassifierMixin

from spaces.domain import FloatRange, IntRange
from spaces.family import Family
from spaces.joint import JointSpace
from spaces.known import known_points
from spaces.points import asked
from spaces.tree import RandomDraw
from trainables.base import TrainingError
from trainables.data.faceset import Faces
from trainables.metrics import score
from trainables.threads import limit_threads


def ours(setting: Setting, until: float) -> None:
    """What `fertune search` does; the work that trials share is empty at the start."""
    from rich.console import Console

    from results.run_folder import RunFolder
    from search.cli_options import cache_folder
    from search.run import start

    budget = {"minutes": (until - time.time()) / 60, "trials": None}
    plan = setting.plan.model_copy(update={"budget": setting.plan.budget.model_copy(update=budget)})
    run = RunFolder(setting.folder / "run")
    # Parsed faces and pretrained weights were made before for everybody; nothing else is in this cache.
    own = setting.folder / "cache"
    own.mkdir()
    for path in cache_folder().iterdir():
        if path.name != "shared":
            (own / path.name).symlink_to(path)
    start(plan, run, own, Console(quiet=True))


def _ours_with(**fields: Any) -> Callable[[Setting, float], None]:
    return lambda setting, until: ours(replace(setting, plan=setting.plan.model_copy(update=fields)), until)


def _known(setting: Setting) -> list[dict[str, Any]]:
    """The configs that fertune begins with, as the parameters that lead to them."""
    space = setting.plan.space
    return [asked(space, config) for config in known_points(space)]


def _suggest(space: JointSpace, trial: Any) -> dict[str, Any]:
    return {"config": space.suggest(trial).model_dump(mode="json")}


def _ray_tune(setting: Setting, until: float, warm: bool, told: bool = False) -> None:
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    scale = setting.plan.fidelity

    class Stock(tune.Trainable):
        def setup(self, config, data=None):
            self.data = data or setting.data()
            self.reset_config(config)

        def reset_config(self, config):
            self.values = config["config"]
            self.learner = build(setting, self.values, self.data.train)
            return True

        def step(self):
            fidelity = scale.next_rung(self.learner.fidelity)
            accuracy = advance(setting, self.values, self.learner, self.data, fidelity)
            return {"accuracy": accuracy, "fidelity": fidelity, "done": fidelity == scale.maximum}

        def save_checkpoint(self, folder):
            self.learner.save(Path(folder))

        def load_checkpoint(self, folder):
            self.learner.load(Path(folder))

    ray.init(address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    trainable = tune.with_parameters(Stock, data=setting.data()) if warm else Stock
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(
                space=partial(_suggest, setting.plan.space),
                points_to_evaluate=_known(setting) if told else None,
                metric="accuracy",
                mode="max",
                seed=setting.plan.seed,
            ),
            scheduler=ASHAScheduler(
                time_attr="fidelity",
                metric="accuracy",
                mode="max",
                max_t=scale.maximum,
                grace_period=1,
                reduction_factor=scale.eta,
            ),
            num_samples=-1,
            max_concurrent_trials=WORKERS,
            time_budget_s=until - time.time(),
            reuse_actors=warm,
        ),
        run_config=tune.RunConfig(
            name="stock",
            storage_path=str(setting.folder),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
        ),
    ).fit()
    ray.shutdown()


def ray_tune(setting: Setting, until: float) -> None:
    """Ray Tune as its documentation shows it: OptunaSearch, ASHA, every trial loads the data."""
    _ray_tune(setting, until, warm=False)


def ray_tune_warm(setting: Setting, until: float) -> None:
    """The same with workers that are used again and the data in Ray's object store."""
    _ray_tune(setting, until, warm=True)


def ray_tune_told(setting: Setting, until: float) -> None:
    """Warm workers, and the configs with which fertune begins are tried first."""
    _ray_tune(setting, until, warm=True, told=True)


def _study(setting: Setting, number: int) -> Any:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    return optuna.create_study(
        study_name="peers",
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(setting.folder / "optuna.journal"))),
        sampler=optuna.samplers.TPESampler(seed=2 * setting.plan.seed + number),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=setting.plan.fidelity.eta),
        direction="maximize",
        load_if_exists=True,
    )


def _optuna_process(setting: Setting, until: float, number: int) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = setting.data()

    def objective(trial: optuna.Trial) -> float:
        config = setting.plan.space.suggest(trial).model_dump(mode="json")
        for fidelity, reached in train(setting, config, data):
            trial.report(reached, fidelity)
            if trial.should_prune():
                raise optuna.TrialPruned
        return reached

    _study(setting, number).optimize(objective, timeout=until - time.time(), catch=(TrainingError,))


def optuna_alone(setting: Setting, until: float) -> None:
    """Plain Optuna: two processes, each with the data, a journal between them, SuccessiveHalvingPruner."""
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_optuna_process, args=(setting, until, number)) for number in range(WORKERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise SystemExit(f"a process of Optuna ended with {process.exitcode}")


def optuna_told(setting: Setting, until: float) -> None:
    """The same, and the configs with which fertune begins are tried first."""
    study = _study(setting, 0)
    for values in _known(setting):
        study.enqueue_trial(values)
    optuna_alone(setting, until)


@dataclass(frozen=True)
class Draws:
    """A distribution of configs, as scikit-learn asks for one."""

    space: JointSpace

    def rvs(self, random_state: np.random.RandomState) -> dict[str, Any]:
        draw = RandomDraw(random.Random(int(random_state.randint(2**31))))
        return self.space.suggest(draw).model_dump(mode="json")


class Estimator(ClassifierMixin, BaseEstimator):
    """A config as a scikit-learn classifier, its fidelity the resource that halving gives out."""

    def __init__(self, setting: Setting, config: dict[str, Any] | None = None, fidelity: int = 1) -> None:
        self.setting, self.config, self.fidelity = setting, config, fidelity

    def fit(self, rows, labels):
        limit_threads(1)
        self.classes_ = np.unique(labels)
        self.learner_ = build(self.setting, self.config, _faces(self.setting.folder).take(rows[:, 0]))
        self.learner_.fit_to(self.fidelity)
        return self

    def score(self, rows, labels):
        images = _faces(self.setting.folder).images[rows[:, 0]]
        accuracy = score(labels, self.learner_.predict_proba(images)).accuracy
        self.setting.note(self.config, self.fidelity, accuracy)
        return accuracy


@cache
def _faces(folder: Path) -> Faces:
    """Training faces, then validation faces: the search hands out their rows. Each process reads them once."""
    data = Setting.read(folder).data()
    train, validation = data.train, data.validation
    return Faces(
        np.concatenate([train.images, validation.images]),
        np.concatenate([train.labels, validation.labels]),
        np.concatenate([train.emotions, validation.emotions]),
        train.names + validation.names,
    )


def scikit_learn(setting: Setting, until: float) -> None:
    """HalvingRandomSearchCV over svm and forest, 27 configs a round, round after round; two processes."""
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV, PredefinedSplit

    data, scale = setting.data(), setting.plan.fidelity
    faces = _faces(setting.folder)
    space = setting.plan.space.model_copy(update={"families": (Family.SVM, Family.FOREST)})
    number = 0
    while time.time() < until:
        HalvingRandomSearchCV(
            Estimator(setting),
            {"config": Draws(space)},
            n_candidates=scale.maximum * scale.eta,
            resource="fidelity",
            min_resources=1,
            max_resources=scale.maximum,
            factor=scale.eta,
            cv=PredefinedSplit(np.repeat([-1, 0], [len(data.train), len(data.validation)])),
            refit=False,
            return_train_score=False,
            error_score=np.nan,
            random_state=1000 * setting.plan.seed + number,
            n_jobs=WORKERS,
        ).fit(np.arange(len(faces))[:, None], faces.labels)
        number += 1


def syne_tune(setting: Setting, until: float) -> None:
    """Syne Tune's local backend with ASHA; without conditional spaces, it draws the parameters of all families."""
    from syne_tune import StoppingCriterion, Tuner
    from syne_tune.backend import LocalBackend
    from syne_tune.config_space import choice, lograndint, loguniform, randint, uniform
    from syne_tune.optimizer.baselines import ASHA

    def domain(given: Any) -> Any:
        if isinstance(given, FloatRange):
            return (loguniform if given.log else uniform)(given.low, given.high)
        if isinstance(given, IntRange):
            return (lograndint if given.log else randint)(given.low, given.high)
        return choice([str(value) for value in given])

    space = {name: domain(given) for name, given in flat_domains(setting.plan).items()}
    Tuner(
        trial_backend=LocalBackend(str(Path(__file__).with_name("peer_trial.py"))),
        scheduler=ASHA(
            {**space, "folder": str(setting.folder)},
            metric="accuracy",
            time_attr="fidelity",
            max_t=setting.plan.fidelity.maximum,
            do_minimize=False,
            random_seed=setting.plan.seed,
            reduction_factor=setting.plan.fidelity.eta,
        ),
        stop_criterion=StoppingCriterion(max_wallclock_time=until - time.time()),
        n_workers=WORKERS,
        max_failures=1000,
        trial_backend_path=str(setting.folder / "syne"),
        save_tuner=False,
    ).run()


SIDES: dict[str, Callable[[Setting, float], None]] = {
    "fertune": ours,
    "fertune, nothing known": _ours_with(known_points=False),
    "fertune, nothing shared": _ours_with(cache="off"),
    "Ray Tune": ray_tune,
    "Ray Tune, warm workers": ray_tune_warm,
    "Ray Tune, warm, told": ray_tune_told,
    "Optuna": optuna_alone,
    "Optuna, told": optuna_told,
    "scikit-learn": scikit_learn,
    "Syne Tune": syne_tune,
}
