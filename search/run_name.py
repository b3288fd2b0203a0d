"""Names of runs."""

from spaces.errors import InputError


def checked_name(name: str) -> str:
    """`name`, if it can be the name of a run's folder.

    Raises:
        InputError: If it cannot.
    """
    if name in ("", ".", "..") or "/" in name or name.startswith("-"):
        raise InputError(f"--name {name}: a run's name is one folder name, without slashes")
    return name
