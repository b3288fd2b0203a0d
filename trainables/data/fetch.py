"""FER2013 from Kaggle, where there is a network."""

import contextlib
import sys
import urllib.error
import urllib.request
from pathlib import Path

from spaces.errors import InputError
from trainables.data.sources import LAYOUTS

DATASET = "msambare/fer2013"
PAGE = f"https://www.kaggle.com/datasets/{DATASET}"
TIMEOUT = 10.0


def fetch(target: Path | None = None) -> Path:
    """Download FER2013 through kagglehub.

    Args:
        target: An empty or new folder to put it in; kagglehub's own cache if None.

    Returns:
        The folder, a source for `DataSpec`.

    Raises:
        InputError: If kagglehub is not installed, Kaggle cannot be reached or refuses, or `target` cannot be used; the
            message says how to get the data by hand.
    """
    try:
        import kagglehub
        from kagglehub import exceptions
    except ImportError as error:
        raise InputError(_by_hand("kagglehub is not installed (pip install kagglehub)")) from error
    _check_reachable()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is ours; kagglehub may write there too
            return Path(kagglehub.dataset_download(DATASET, output_dir=str(target) if target else None))
    except (
        OSError,
        exceptions.BackendError,
        exceptions.CredentialError,
        exceptions.DataCorruptionError,
        exceptions.NotFoundError,
        exceptions.UnauthenticatedError,
    ) as error:
        raise InputError(_by_hand(f"the download failed ({str(error).strip().partition(chr(10))[0]})")) from error


def _check_reachable() -> None:
    """Kagglehub sets no time limit on its first request and would wait for ever behind a silent firewall."""
    try:
        with urllib.request.build_opener().open(PAGE, timeout=TIMEOUT):
            pass
    except urllib.error.HTTPError:
        pass  # it answered: reachable, whatever it thinks of the question
    except OSError as error:
        raise InputError(_by_hand(f"Kaggle cannot be reached ({getattr(error, 'reason', error)})")) from error


def _by_hand(problem: str) -> str:
    return (
        f"cannot fetch {DATASET}: {problem}; download it by hand from {PAGE} and pass its place with --data PATH, "
        f"which may be {LAYOUTS}"
    )
