"""The model card of an artifact, in the form the Hugging Face Hub reads (YAML front matter, then Markdown)."""

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from results.describe import describe
from results.manifest import Manifest
from results.selection_view import with_interval
from trainables.data.spec import DataSpec

_CARD = """---
{front}---

# {run}, trial {trial}: facial expressions in three classes

A model of the family {family} that tells {classes} faces apart: `{config}`, trained to full fidelity ({fidelity}) with
seed {seed}. `fertune` chose it among the trials of one search by its balanced accuracy on validation.

## How to use

```
fertune predict PATH_OF_THIS_FOLDER image.jpg
```

This finds the face first, crops it and resizes it to {side} x {side} gray pixels. Every file is checked against its
sha256 in `manifest.json` before it is read, and nothing is unpickled.

## Training data

{data}

## Metrics

Accuracy is balanced accuracy, the mean of the three recalls; brackets hold 95 % bootstrap intervals.

| split | accuracy | macro-F1 | log-loss (nats) | recall {recalls} |
|---|---|---|---|---|
{rows}

{readings}

## Limits

The model was chosen on validation, so its validation figures are optimistic. Its labels were given by people to
pictures, often posed ones: it tells what an expression looks like, not what a person feels. How well it does on people
or pictures unlike its training data has not been measured; do not use it to judge people.

## Provenance

```json
{provenance}
```
"""


def model_card(manifest: Manifest) -> str:
    """The card of the artifact with this manifest (whose `files` may still be empty).

    Raises:
        InputError: If the config is none of any family.
    """
    front = {
        "license": "unknown",
        "library_name": "fertune",
        "pipeline_tag": "image-classification",
        "tags": ["facial-expression-recognition", manifest.family.value],
        "metrics": ["accuracy", "f1"],
    }
    return _CARD.format(
        front=yaml.safe_dump(front, sort_keys=False),
        run=manifest.run,
        trial=manifest.trial,
        family=manifest.family,
        classes=_listing(manifest.classes),
        config=describe(manifest.config),
        fidelity=manifest.fidelity,
        seed=manifest.seed,
        side=manifest.preprocessing.side,
        data=_data(manifest.data) + _pretraining(manifest),
        recalls=" / ".join(manifest.classes),
        rows="\n".join(_rows(manifest)),
        readings=_readings(manifest),
        provenance=json.dumps(manifest.provenance, indent=2),
    )


def _rows(manifest: Manifest) -> list[str]:
    metrics = manifest.metrics
    rows = []
    for split, figures in (("validation", metrics.validation), ("test", metrics.test)):
        if figures is not None:
            accuracy = with_interval(figures.accuracy, figures.accuracy_ci)
            recall = " / ".join(f"{share:.4f}" for share in figures.recall)
            rows.append(f"| {split} | {accuracy} | {figures.macro_f1:.4f} | {figures.log_loss:.4f} | {recall} |")
    return rows


def _readings(manifest: Manifest) -> str:
    metrics = manifest.metrics
    if metrics.test is None:
        return "The test set had not been read for this model when it was exported."
    times = "once" if metrics.test_readings == 1 else f"{metrics.test_readings} times"
    return f"The test figures are of {metrics.test.n:,} faces; the run had read the test set {times} in all."


def _data(spec: DataSpec) -> str:
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
        f"trained on.{cropped}"
    )


def _pretraining(manifest: Manifest) -> str:
    """A sentence on the backbone if the model began with `faces` weights, else nothing."""
    features = manifest.config.get("features", {"kind": None})
    weights = features.get("weights") if features["kind"] == "embedding" else manifest.config.get("weights")
    if weights != "faces":
        return ""
    entries = manifest.provenance.get("weights", {}).values()
    records = [entry["pretraining"] for entry in entries if entry.get("pretraining")]
    amount = "".join(f" ({record['images']:,} of them, {record['seconds']:.0f} s)" for record in records)
    return (
        f" The backbone had been pretrained on the clean training faces of all seven emotions{amount}, those in "
        "validation or test held out."
    )


def _listing(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
