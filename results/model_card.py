"""The model card of an artifact, in the form the Hugging Face Hub reads (YAML front matter, then Markdown)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from results.describe import describe
from results.manifest import EnsembleFigures, Manifest, ValidationFigures
from results.readings import Figures
from results.selection_view import with_interval

_CARD = """---
{front}---

# {title}

{summary}

## Model Details

{details}

## Uses

It takes pictures of faces and gives the probabilities of {classes}. It tells what an expression looks like in a
picture, not what a person feels; do not use it to judge people, at work, in school or anywhere else.

## How to Get Started with the Model

```
fertune predict PATH_OF_THIS_FOLDER image.jpg
fertune demo PATH_OF_THIS_FOLDER
```

This finds the faces first, crops them and resizes them to {side} x {side} gray pixels. Every file is checked against
its sha256 in `manifest.json` before it is read, and nothing is unpickled.

{onnx}

## Training Details

{data}

## Evaluation

Accuracy is balanced accuracy, the mean of the three recalls; brackets hold 95 % bootstrap intervals.

{metrics}

{readings}
{thresholds}
## Bias, Risks, and Limitations

{chosen}, so its validation figures are optimistic. Its labels were given by people to pictures, often posed ones. How
well it does on people or pictures unlike its training data has not been measured here; `fertune evaluate` measures it.

## Provenance

```json
{provenance}
```
"""

_ONNX = """`model.onnx` holds all of it, features and scaling too, for any runtime of ONNX (opset {opset}):

```python
runtime = onnxruntime.InferenceSession("model.onnx")
(probabilities,) = runtime.run(None, {{"faces": faces}})  # faces: uint8, (n, {side}, {side}), cropped as above
```

When it was exported, ONNX Runtime and the model in float32 gave the same label for {same_labels} of {faces} drawn
faces; the largest difference between their probabilities was {largest_difference:.2g}, the mean
{mean_difference:.2g}."""


def model_card(manifest: Manifest) -> str:
    """The card of the artifact with this manifest (whose `files` may still be empty).

    Raises:
        InputError: If a config is none of any family.
    """
    ensemble = bool(manifest.members)
    origin = "an ensemble" if ensemble else f"trial {manifest.trial}{', refitted' if manifest.refit else ''}"
    onnx = manifest.onnx
    side = manifest.preprocessing.side
    return _CARD.format(
        front=yaml.safe_dump(_front_matter(manifest), sort_keys=False, allow_unicode=True),
        title=f"{manifest.run}, {origin}: facial expressions in three classes",
        summary=_summary(manifest),
        details="\n".join(_details(manifest)),
        classes=_listing(manifest.classes),
        side=side,
        onnx="There is no ONNX file in it." if onnx is None else _ONNX.format(side=side, **onnx.model_dump()),
        data=_data(manifest) + _pretraining(manifest),
        metrics=_refit(manifest) + "\n".join(_metrics(manifest)),
        readings=_readings(manifest),
        thresholds=_choice(manifest) + _thresholds(manifest),
        chosen="The members were picked on validation" if ensemble else "The model was chosen on validation",
        provenance=json.dumps(manifest.provenance, indent=2),
    )


def _front_matter(manifest: Manifest) -> dict[str, Any]:
    """What the Hub reads, its `model-index` included: the figures with the data they were measured on."""
    families = {member.family.value for member in manifest.members} or {str(manifest.family)}
    results = []
    for split, figures in () if manifest.refit else _measured(manifest):  # nothing was measured of a refit
        results.append(
            {
                "task": {"type": "image-classification", "name": "facial expression recognition"},
                "dataset": {
                    "type": "image-folder",
                    "name": Path(manifest.data.source).name,
                    "split": split,
                },
                "metrics": [
                    {"type": "accuracy", "name": "balanced accuracy", "value": figures.accuracy},
                    *([] if isinstance(figures, EnsembleFigures) else [_f1(figures)]),
                ],
            }
        )
    return {
        "license": "unknown",
        "library_name": "fertune",
        "pipeline_tag": "image-classification",
        "tags": ["facial-expression-recognition", *sorted(families), *(["onnx"] if manifest.onnx else [])],
        "metrics": ["accuracy", "f1"],
        "model-index": [{"name": manifest.run, "results": results}],
    }


def _f1(figures: ValidationFigures | Figures) -> dict[str, Any]:
    return {"type": "f1", "name": "macro-F1", "value": figures.macro_f1}


def _summary(manifest: Manifest) -> str:
    if manifest.members:
        return (
            f"An ensemble of {len(manifest.members)} models: the weighted mean of their probabilities. `fertune` chose "
            "members and weights among the trials of one search, greedily on validation."
        )
    assert manifest.config is not None, "a manifest without members has a config"
    return (
        f"A model of the family {manifest.family}: `{describe(manifest.config)}`, trained to full fidelity "
        f"({manifest.fidelity}) with seed {manifest.seed}. `fertune` chose it among the trials of one search by its "
        "balanced accuracy on validation."
    )


def _details(manifest: Manifest) -> list[str]:
    if not manifest.members:
        return [f"- family: {manifest.family}", f"- label: {manifest.decision}"]
    rows = ["| trial | family | weight | config |", "|---|---|---|---|"]
    rows += [f"| {m.trial} | {m.family} | {m.weight:.3f} | `{describe(m.config)}` |" for m in manifest.members]
    return [*rows, "", f"- label: {manifest.decision}"]


def _measured(manifest: Manifest) -> list[tuple[str, ValidationFigures | EnsembleFigures | Figures]]:
    metrics = manifest.metrics
    found: list[tuple[str, ValidationFigures | EnsembleFigures | Figures]] = [("validation", metrics.validation)]
    return [*found, ("test", metrics.test)] if metrics.test else found


def _metrics(manifest: Manifest) -> list[str]:
    figures = manifest.metrics.validation
    if isinstance(figures, EnsembleFigures):
        accuracy, gain = with_interval(figures.accuracy, figures.accuracy_ci), figures.gain
        return [
            f"Validation, cross-validated: accuracy {accuracy}, log-loss {figures.log_loss:.4f}; against the single "
            f"winner {gain:+.4f} [{figures.gain_ci[0]:+.4f}, {figures.gain_ci[1]:+.4f}], McNemar's p = "
            f"{figures.mcnemar_p:.2g}."
        ]
    rows = [
        f"| split | accuracy | macro-F1 | log-loss (nats) | recall {' / '.join(manifest.classes)} |",
        "|---|---|---|---|---|",
    ]
    for split, measured in _measured(manifest):
        assert not isinstance(measured, EnsembleFigures), "an ensemble has not met the test set"
        accuracy = with_interval(measured.accuracy, measured.accuracy_ci)
        recall = " / ".join(f"{share:.4f}" for share in measured.recall)
        rows.append(f"| {split} | {accuracy} | {measured.macro_f1:.4f} | {measured.log_loss:.4f} | {recall} |")
    return rows


def _refit(manifest: Manifest) -> str:
    """A paragraph on whose figures these are if the model was trained once more, else nothing."""
    refit = manifest.refit
    if refit is None:
        return ""
    return (
        f"This model was trained on all {refit.images:,} faces of training and validation, with the config and seed of "
        f"trial {manifest.trial}. The figures are of that trial's model, trained without the validation faces; of this "
        "one there are none.\n\n"
    )


def _choice(manifest: Manifest) -> str:
    """A paragraph on the comparison that chose the model, and on its calibration, if there was one."""
    choice = manifest.choice
    if choice is None:
        return ""
    how = f"mean of {choice.refits} refits" if choice.refits else "its own validation figure"
    rival = "" if choice.mcnemar_p is None else f", McNemar's p against the runner-up {choice.mcnemar_p:.2g}"
    flattered = (
        ""
        if choice.optimism is None
        else "Picking the best of a search's trials is expected to flatter its validation accuracy by "
        f"{choice.optimism:.4f}. "
    )
    return (
        f"\nIt was chosen among {choice.candidates} (accuracy {with_interval(choice.accuracy, choice.accuracy_ci)}, "
        f"{how}{rival}). {flattered}At the temperature {choice.temperature:.3f} (each probability to the power of one "
        f"over it, scaled to sum to one) its expected calibration error is {choice.ece_scaled:.4f} instead of "
        f"{choice.ece:.4f}.\n"
    )


def _thresholds(manifest: Manifest) -> str:
    if not manifest.thresholds:
        return ""
    rows = [f"| {t.confidence:.3f} | {t.coverage:.1%} | {t.accuracy:.4f} |" for t in manifest.thresholds]
    return (
        "\nWhere faces are passed over whose label has a lower probability (validation; each face counts "
        "once):\n\n| least probability | faces left | right |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _readings(manifest: Manifest) -> str:
    metrics = manifest.metrics
    if metrics.test is None:
        return "The test set had not been read for this model when it was exported."
    times = "once" if metrics.test_readings == 1 else f"{metrics.test_readings} times"
    return f"The test figures are of {metrics.test.n:,} faces; the run had read the test set {times} in all."


def _data(manifest: Manifest) -> str:
    spec, more = manifest.data, ", with validation added" if manifest.refit else ""
    protocol = spec.protocol
    cropped = ""
    if spec.crop is not None:
        missing = "taken whole" if spec.crop.missing == "keep" else "dropped"
        cropped = (
            f" Every picture was cropped to its face, found by the detector {spec.crop.detector}, before all this; "
            f"pictures without one were {missing}."
        )
    amount = "all" if protocol.balance == "none" else f"at most {protocol.balance:,} of each class"
    return (
        f"Source: `{Path(spec.source).name}`. Negative is {_listing(protocol.negative)}; neutral is "
        f"{_listing(protocol.neutral)}; positive is {_listing(protocol.positive)}; other emotions were dropped, and so "
        f"were images with a pixel standard deviation below {protocol.blank_std:g}. Validation is "
        f"{protocol.validation:.0%} of the usable training images (seed {protocol.seed}); of the others, {amount} were "
        f"trained on{more}.{cropped}"
    )


def _pretraining(manifest: Manifest) -> str:
    """A sentence on the backbone if a model began with `faces` weights, else nothing."""
    configs = [member.config for member in manifest.members] or [manifest.config or {}]
    if "faces" not in map(_weights, configs):
        return ""
    entries = manifest.provenance.get("weights", {}).values()
    records = [entry["pretraining"] for entry in entries if entry.get("pretraining")]
    amount = "".join(f" ({record['images']:,} of them, {record['seconds']:.0f} s)" for record in records)
    return (
        f" The backbone had been pretrained on the clean training faces of all seven emotions{amount}, those in "
        "validation or test held out."
    )


def _weights(config: dict[str, Any]) -> str | None:
    """What the network of a config began with, None if it has none."""
    features = config.get("features", {"kind": None})
    weights: str | None = features.get("weights") if features["kind"] == "embedding" else config.get("weights")
    return weights


def _listing(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
