"""What Tune asks of its adapters in moments that are rare."""

from engine_run import make_plan

from search.engine import Engine
from search.room import Room
from search.searcher import Searcher
from search.tune_bridge import Suggestions


def test_a_cluster_without_machines_is_looked_at_while_tune_asks_for_trials():
    plan = make_plan(trials=2)
    room = Room(plan.resources, [], plan.space.families, grows=True)
    engine = Engine(plan, Searcher(None, plan), (), lambda event: None, room)
    engine.begin()
    suggestions = Suggestions(engine, lambda states: room.update([{"CPU": 1.0}]))
    assert suggestions.suggest("first") is None
    assert suggestions.suggest("again")["trial"] == 0
