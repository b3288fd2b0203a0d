"""What goes wrong between a search and the machines it runs on."""


class ClusterError(RuntimeError):
    """No trial can run: the message says what was asked for, what there is, and what to do."""
