"""Whether learners of this process may use its GPUs, and whether memory sufficed; without loading torch."""

import sys
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


def memory_failure(error: RuntimeError | MemoryError) -> str | None:
    """What to say of `error` if it says that memory did not suffice, else None."""
    if "torch" in sys.modules:  # it alone says so in words of its own, and is loaded where it says them
        from trainables.precision import out_of_memory

        is_one = out_of_memory(error)
    else:
        is_one = isinstance(error, MemoryError)
    return f"out of memory ({str(error).partition(chr(10))[0]})" if is_one else None
