"""The rows of `benchmarks/learners.py` are plans that can be searched."""

import sys
from pathlib import Path

import pytest

from search.plan import validate_plan

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
from learner_rows import PRETRAINING, REFERENCES, ROWS


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_a_plan_of_one_family_that_needs_pretraining_if_it_says_so(name: str) -> None:
    row = ROWS[name]
    plan = validate_plan({"budget": {"minutes": row.minutes}, "pretraining": PRETRAINING, "space": row.space}, name)
    assert [str(family) for family in plan.space.families] == [name.removesuffix("-embedding")]
    assert plan.needs_pretraining == row.is_pretrained
    assert row.spec("faces.csv").source == "faces.csv"


def test_references_are_simple_versions_of_rows() -> None:
    assert {config.family for config, _ in REFERENCES.values()} == {"svm", "forest"}
