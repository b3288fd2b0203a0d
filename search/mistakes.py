"""What is wrong with a plan, in sentences: pydantic's errors for people who write YAML."""

import re

from pydantic import ValidationError

# What pydantic adds to the place of a value to say which of several kinds of value it was taken for.
_KIND = re.compile(r"range|choices|literal\[.*\]|constrained-\w+")
_WORDS = {"tuple_type": "expected a list", "extra_forbidden": "no such field"}


def explain(error: ValidationError) -> str:
    """All broken rules in one text: field, value received, rule; one line for a value that is of no allowed kind."""
    errors = error.errors()
    paths = [item["loc"] for item in errors]
    found: dict[tuple[str, str, object], list[str]] = {}
    for number, item in enumerate(errors):
        path = item["loc"]
        if any(other != path and other[: len(path)] == path for other in paths):
            continue  # the same mistake is told more precisely further down
        place = [str(part) for part in path if not _KIND.fullmatch(str(part))]
        own = item["type"] == "value_error"
        message = item["msg"].removeprefix("Value error, ")
        message = _WORDS.get(item["type"], message if own else message[0].lower() + message[1:])
        received = "" if own or item["type"] == "missing" else f" (received {item['input']!r})"
        mistake = None if len(place) < len(path) else number
        found.setdefault((".".join(place) or "plan", received, mistake), []).append(message)
    lines = [
        f"{field}: {each}{received}"
        for (field, received, _), messages in found.items()
        for each in " or ".join(messages).split("\n")  # a validator tells all it finds
    ]
    return lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} mistakes", *lines])
