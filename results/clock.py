"""How long a run has been searched, interruptions not counted."""

from collections.abc import Iterable

from results.schema import Event, SessionStart


def searched_seconds(events: Iterable[Event]) -> list[float]:
    """Seconds of searching up to each of `events`: the time between sessions, when nobody searched, is left out."""
    seconds: list[float] = []
    total, began, last = 0.0, None, 0.0
    for event in events:
        if began is None or isinstance(event, SessionStart):
            total += last - began if began is not None else 0.0
            began = event.time
        last = event.time
        seconds.append(total + last - began)
    return seconds
