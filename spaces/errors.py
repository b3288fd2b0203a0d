"""The one exception for bad input; the command line prints its sentence and exits with code 2."""


class InputError(ValueError):
    """The user's input cannot be used: the message says what, where, what was received and what is allowed."""
