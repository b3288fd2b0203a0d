"""What a cluster that can grow is asked for; no such cluster is at hand, so the request itself is looked at."""

import pytest

from search import growth
from search.plan import Plan, validate_plan
from search.room import Room

NODES = [{"CPU": 4.0}]


def plan_of(**sections: object) -> Plan:
    return validate_plan({"space": {"families": ["svm", "resnet"]}, **sections}, "plan")


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, float]]]:
    """What was asked for, in turn; every look is due."""
    asked: list[list[dict[str, float]]] = []
    monkeypatch.setattr(growth, "request", asked.append)
    monkeypatch.setattr(growth, "alive_nodes", lambda: NODES)
    monkeypatch.setattr(growth, "_LOOK_SECONDS", 0.0)
    return asked


def grown(plan: Plan, ended: list[int]) -> growth.Growth:
    """Told by the last of `ended` how many trials have ended."""
    room = Room(plan.resources, NODES, plan.space.families, grows=True)
    return growth.Growth(plan, room, lambda: ended[-1], lambda text: None)


def test_it_asks_for_the_trials_that_are_left_and_takes_it_back(requests):
    plan = plan_of(
        budget={"trials": 10}, cluster={"address": "auto", "autoscale": 8}, resources={"resnet": {"cpus": 2, "gpus": 1}}
    )
    ended = [0]
    with grown(plan, ended) as growing:
        assert len(requests[0]) == 8
        assert requests[0][:2] == [{"CPU": 1}, {"CPU": 2, "GPU": 1.0}]
        growing.update(["RUNNING"] * 2)
        assert len(requests) == 1, "the same is not asked again"
        growing.update(["RUNNING"] * 2 + ["TERMINATED"] * 20)
        assert len(requests) == 1, "paused trials are terminated to Tune, and have not ended"
        ended.append(6)
        growing.update(["RUNNING"] * 4)
        assert len(requests[-1]) == 4
        ended.append(10)
        growing.update([])
        assert len(requests[-1]) == 1
    assert requests[-1] == []


def test_without_autoscale_nothing_is_asked(requests):
    with grown(plan_of(budget={"trials": 4}, cluster={"address": "auto"}), [3]) as growing:
        growing.update(["RUNNING"])
    assert requests == []


def test_a_budget_of_minutes_keeps_the_request(requests):
    with grown(plan_of(budget={"minutes": 5}, cluster={"address": "auto", "autoscale": 3}), [50]) as growing:
        growing.update(["TERMINATED"] * 50)
        assert [len(each) for each in requests] == [3]
