"""Where Ray's sockets and logs go."""

import tempfile


def short_folder() -> str:
    """Where Ray may put its sockets, whose paths have at most 107 characters, of which Ray needs about 70."""
    folder = tempfile.gettempdir()
    return folder if len(folder) <= 20 else "/tmp"  # noqa: S108 (a private folder is made in it)
