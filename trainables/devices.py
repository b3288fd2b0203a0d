"""Whether learners of this process may use the GPUs that it sees."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LEAVES_GPUS = ContextVar("leaves_gpus", default=False)


def may_use_gpus() -> bool:
    """Whether a learner that begins now may use a GPU, if there is one."""
    return not _LEAVES_GPUS.get()


@contextmanager
def without_gpus() -> Iterator[None]:
    """Let learners that begin inside use none, as in a worker that was given none."""
    token = _LEAVES_GPUS.set(True)
    try:
        yield
    finally:
        _LEAVES_GPUS.reset(token)
