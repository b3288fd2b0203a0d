"""Fitting the three pairwise machines of an svm, with the fastest library this process can use."""

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaces.svm import SvmConfig
from trainables.base import TrainingError, class_weights
from trainables.data.faceset import Labels
from trainables.devices import may_use_gpus
from trainables.platt import PAIRS

# scikit-learn-intelex where this machine has it: the same answers in a tenth of the time.
try:
    from sklearnex.svm import SVC
except ImportError:
    from sklearn.svm import SVC

KERNEL_CACHE_MB = 500


def fit_pairs(
    config: SvmConfig, vectors: NDArray[np.float32], labels: Labels
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Fit a machine for each pair of classes, on a GPU where this process has one and cuML is installed.

    Args:
        config: Kernel, penalty and class weights.
        vectors: float32, (n, d); `Features` gives vectors of which scikit-learn's gamma "scale" is 1.
        labels: int8, (n,), all three classes.

    Returns:
        The support vectors, float32, (m, d); the weight of each kernel value in each decision, float32, (m, 3), columns
        in the order of `PAIRS`; what is added to the decisions, float32, (3,). A decision is positive for the first
        class of its pair.

    Raises:
        TrainingError: If the machines cannot be fitted.
    """
    weights = dict(enumerate(class_weights(labels))) if config.class_weight == "balanced" else None
    options = {
        "kernel": config.kernel,
        "C": config.C,
        "gamma": config.gamma,
        "degree": config.degree,
        "coef0": config.coef0,
        "cache_size": KERNEL_CACHE_MB,
    }
    try:
        if gpu_library() is not None:
            return one_by_one(gpu_library(), options, vectors, labels, weights)
        machine = SVC(**options, class_weight=weights).fit(vectors, labels)
    except RuntimeError as error:
        raise TrainingError(f"the svm cannot be fitted on {len(labels)} images: {error}") from error
    coefficients = pair_coefficients(np.asarray(machine.dual_coef_), np.asarray(machine.n_support_))
    return np.asarray(machine.support_vectors_, dtype=np.float32), coefficients, _float32(machine.intercept_)


def gpu_library() -> Any:
    """CuML's `SVC` if the package is installed and this process may use a GPU, else None.

    A trial owns a GPU only where the plan gives svm one: `resources: {svm: {gpus: 1}}`.
    """
    return _cuml() if may_use_gpus() else None


@cache
def _cuml() -> Any:
    if find_spec("cuml") is None or find_spec("cupy") is None:
        return None
    from cupy.cuda import runtime  # type: ignore[import-not-found]  # comes with cuML

    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError:  # no driver, or no device that this process may see
        return None
    if not count:
        return None
    from cuml.svm import SVC as GpuSVC  # type: ignore[import-not-found]  # noqa: N811

    return GpuSVC


def one_by_one(
    library: Any,
    options: Mapping[str, Any],
    vectors: NDArray[np.float32],
    labels: Labels,
    weights: Mapping[int, float] | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """What `fit_pairs` returns, from a `library` of two-class machines, which is all that cuML tells the insides of."""
    coefficients = np.zeros((len(vectors), len(PAIRS)), dtype=np.float32)
    intercepts = np.empty(len(PAIRS), dtype=np.float32)
    for column, (first, second) in enumerate(PAIRS):
        among = np.flatnonzero((labels == first) | (labels == second))
        is_first = (labels[among] == first).astype(np.int32)
        of_pair = None if weights is None else {1: weights[first], 0: weights[second]}
        machine = library(**options, class_weight=of_pair).fit(vectors[among], is_first)
        coefficients[among[_plain(machine.support_).astype(np.intp)], column] = _plain(machine.dual_coef_)
        intercepts[column] = _plain(machine.intercept_).item()
    support = coefficients.any(axis=1)
    return vectors[support], coefficients[support], intercepts


def pair_coefficients(dual: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.float32]:
    """A column for each pair from libsvm's packed dual coefficients.

    libsvm sorts support vectors by class and gives each a coefficient for every other class, in the order of those.

    Args:
        dual: (2, m).
        counts: Number of support vectors of each class, (3,), m in all.

    Returns:
        float32, (m, 3), zero where a vector belongs to neither class of the pair.
    """
    ends = np.cumsum(counts)
    coefficients = np.zeros((dual.shape[1], len(PAIRS)), dtype=np.float32)
    for column, (first, second) in enumerate(PAIRS):
        for own, other in ((first, second), (second, first)):
            rows = slice(ends[own] - counts[own], ends[own])
            coefficients[rows, column] = dual[other - (other > own), rows]
    return coefficients


def _plain(values: Any) -> NDArray[np.float64]:
    """An array of the library's, which may lie on a GPU, as one of numpy's with one dimension."""
    return np.asarray(values.get() if hasattr(values, "get") else values, dtype=np.float64).ravel()


def _float32(values: Any) -> NDArray[np.float32]:
    return np.asarray(values, dtype=np.float32)
