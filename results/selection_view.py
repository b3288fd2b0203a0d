"""A selection as people read it."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from results.describe import describe
from trainables.data.faceset import CLASSES


def render(selection: dict[str, Any]) -> Group:
    """What `select` returned: who won and why, its figures with intervals, and what they are worth."""
    winner = selection["winner"]
    parts: list[RenderableType] = [
        Text(f"winner: trial {winner['trial']}, {winner['family']}, {describe(winner['config'])}"),
        *(Text(line) for line in (*reasons(winner["trial"], selection), *_figures(selection))),
    ]
    if len(selection["candidates"]) > 1:
        parts.append(_candidates(selection))
    parts += [_confusion(selection["test"]), _emotions(selection["recall_by_emotion"])]
    parts += [Text(line) for line in (_calibration(selection["calibration"]), *ensemble_lines(selection["ensemble"]))]
    if selection["warning"]:
        parts.append(Text(f"warning: {selection['warning']}", style="bold red"))
    return Group(*parts)


def with_interval(value: float, interval: Sequence[float] | None) -> str:
    """A share with its interval, for people: `0.7121 [0.7003, 0.7236]`."""
    return f"{value:.4f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")


def reasons(winner: int, selection: dict[str, Any]) -> list[str]:
    """Why the trial `winner` won, where there was something to compare it with; `selection` as `compare` returns it."""
    rows = {row["trial"]: row for row in selection["candidates"]}
    leader = selection["leader"]
    failed = [f"trial {trial} is out: a refit failed ({row['failed']})" for trial, row in rows.items() if row["failed"]]
    if selection["runner_up"] is None:
        return failed
    p_value = f"p = {selection['mcnemar_p']:.2g}, McNemar's exact test with Holm's correction"
    if winner != leader:
        return [
            *failed,
            f"why: it cannot be told apart from trial {leader}, the best on validation ({p_value}), and is cheaper "
            f"({rows[winner]['seconds']:.1f} s instead of {rows[leader]['seconds']:.1f} s)",
        ]
    equals = [
        str(trial)
        for trial, row in rows.items()
        if trial != leader and trial not in selection["told_apart"] and not row["failed"]
    ]
    if not equals:
        return [
            *failed,
            f"why: it is the best on validation and differs from every other candidate (runner-up: {p_value})",
        ]
    return [
        *failed,
        f"why: it is the best on validation; what cannot be told apart from it (trial {', '.join(equals)}; runner-up: "
        f"{p_value}) is not half as dear",
    ]


def _figures(selection: dict[str, Any]) -> list[str]:
    test, best = selection["test"], selection["optimism"]
    row = next(row for row in selection["candidates"] if row["trial"] == selection["winner"]["trial"])
    recalls = ", ".join(f"{name} {share:.4f}" for name, share in zip(CLASSES, selection["val_recall"], strict=True))
    trials = f"{best['trials']} finished trial" + ("s" if best["trials"] > 1 else "")
    # What is picked for something else is not picked for an accuracy that is too high.
    optimism = (
        f"the best validation accuracy of {trials}, {best['val_accuracy']:.4f}, is expected to be "
        f"{best['expected']:.4f} too high for having been picked: rather {best['corrected']:.4f}"
    )
    return [
        f"validation accuracy {with_interval(row['val_accuracy_mean'], row['val_accuracy_ci'])}"
        f"{_refitted(row, selection['rules'])}",
        f"validation recall: {recalls}",
        f"test accuracy {with_interval(test['accuracy'], test['accuracy_ci'])}, macro-F1 {test['macro_f1']:.4f}, "
        f"{test['n']:,} faces (95 % bootstrap intervals)",
        *([] if selection["objective"] != "val_accuracy" else [optimism]),
    ]


def _refitted(row: dict[str, Any], rules: dict[str, Any]) -> str:
    if not row["refitted"]:
        return ""
    refits = "1 refit" if len(row["seeds"]) == 1 else f"mean of {len(row['seeds'])} refits, each"
    where = "on another split than the run's" if rules["splits"] else "on the run's split, for which it was picked"
    return f", {refits} {where}"


def _candidates(selection: dict[str, Any]) -> Table:
    table = Table(title="candidates", box=box.SIMPLE_HEAD, show_edge=False)
    for name in ("trial", "family", "config"):
        table.add_column(name)
    for name in ("refits", "validation accuracy", "p", "seconds"):
        table.add_column(name, justify="right")
    for row in selection["candidates"]:
        won = row["trial"] == selection["winner"]["trial"]
        table.add_row(*candidate_cells(row, selection.get("measure")), style="bold" if won else None)
    return table


def candidate_cells(row: dict[str, Any], measure: str | None) -> list[str]:
    """One of the candidates in words: trial, family, config, refits, accuracy with interval, p, seconds.

    Where they are ranked by another `measure`, macro-F1, it stands beside the accuracy.
    """
    accuracy = "failed" if row["failed"] else with_interval(row["val_accuracy_mean"], row["val_accuracy_ci"])
    if measure == "val_macro_f1" and not row["failed"]:
        accuracy += f", macro-F1 {row['val_macro_f1_mean']:.4f}"
    p_value = "-" if row["mcnemar_p"] is None else f"{row['mcnemar_p']:.2g}"
    refits = str(len(row["seeds"])) if row["refitted"] else "-"
    words = [str(row["trial"]), row["family"], describe(row["config"]), refits, accuracy, p_value]
    return [*words, f"{row['seconds']:.1f}"]


def _confusion(test: dict[str, Any]) -> Table:
    table = Table(title="test faces (rows true, columns predicted)", box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("")
    for heading in (*CLASSES, "recall"):
        table.add_column(heading, justify="right")
    for name, counts, recall in zip(CLASSES, test["confusion"], test["recall"], strict=True):
        table.add_row(name, *(str(count) for count in counts), f"{recall:.4f}")
    return table


def _emotions(recalls: dict[str, Any]) -> Table:
    table = Table(title="validation faces by original emotion", box=box.SIMPLE_HEAD, show_edge=False)
    for name in ("emotion", "class"):
        table.add_column(name)
    for name in ("faces", "recall"):
        table.add_column(name, justify="right")
    for emotion, found in recalls.items():
        table.add_row(emotion, found["class"], f"{found['n']:,}", f"{found['recall']:.4f}")
    return table


def _calibration(found: dict[str, Any]) -> str:
    return (
        f"calibration on validation: expected calibration error {found['ece']:.4f}, log-loss {found['log_loss']:.4f}; "
        f"at a temperature of {found['temperature']:.3f} they would be {found['ece_scaled']:.4f} and "
        f"{found['log_loss_scaled']:.4f} (cross-validated)"
    )


def ensemble_lines(found: dict[str, Any] | None) -> list[str]:
    """What is said of an ensemble; nothing without one."""
    if found is None:
        return []
    members = ", ".join(f"trial {part['trial']} ({part['family']}) {part['weight']:.0%}" for part in found["members"])
    gain, (low, high) = found["gain"], found["gain_ci"]
    took = "" if found["milliseconds"] is None else f", {found['milliseconds']:.1f} ms a face"
    return [
        f"ensemble of {members}{took}: validation accuracy "
        f"{with_interval(found['val_accuracy'], found['val_accuracy_ci'])}, "
        f"log-loss {found['val_log_loss']:.4f} (cross-validated)",
        f"against the winner: {gain:+.4f} [{low:+.4f}, {high:+.4f}], McNemar's p = {found['mcnemar_p']:.2g}; "
        f"it has not met the test set",
    ]
