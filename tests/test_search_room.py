"""What fits at once."""

import pytest
from pydantic import ValidationError

from search.room import Room, Shape
from search.sections import Resources
from spaces.errors import InputError
from spaces.family import Family

SVM, RESNET = Family.SVM, Family.RESNET


def room(available: dict[str, float], **resources: dict[str, float]) -> Room:
    return Room(Resources.model_validate(resources), available, (SVM, RESNET))


def test_families_of_two_shapes_share_the_cpus():
    two = room({"CPU": 4}, resnet={"cpus": 2})
    assert two.concurrency == 4
    assert two.fits(RESNET, [SVM, SVM])
    assert not two.fits(RESNET, [SVM, SVM, SVM])
    assert not two.is_full([SVM, SVM, SVM])
    assert two.is_full([RESNET, RESNET])


def test_thirds_of_a_gpu_make_a_whole_one():
    thirds = room({"CPU": 16, "GPU": 1}, resnet={"gpus": 1 / 3})
    assert thirds.fits(RESNET, [RESNET, RESNET])
    assert not thirds.fits(RESNET, [RESNET, RESNET, RESNET])
    assert thirds.fits(SVM, [RESNET, RESNET, RESNET])


def test_a_trial_needs_one_machine_that_holds_it():
    nodes = [{"CPU": 3}, {"CPU": 3, "GPU": 1}]
    families = (SVM, RESNET)
    several = Room(Resources.model_validate({"resnet": {"cpus": 2, "gpus": 0}}), nodes, families)
    assert several.cpus == 6
    assert several.fits(RESNET, [RESNET])
    assert not several.fits(RESNET, [RESNET, RESNET])  # 6 CPUs would do, but not 3 and 3
    assert several.fits(SVM, [RESNET, RESNET])
    with pytest.raises(InputError, match="asks for 4 CPUs.*of this cluster offers 3 CPUs and 0 GPUs or 3 CPUs and 1 G"):
        Room(Resources.model_validate({"svm": {"cpus": 4}}), nodes, families)


def test_a_family_that_never_fits_is_refused():
    with pytest.raises(
        InputError, match="resources.resnet: a trial asks for 2 CPUs and 1 GPUs.*offers 2 CPUs and 0 GPUs"
    ):
        room({"CPU": 2}, resnet={"cpus": 2, "gpus": 1})


def test_resnets_take_a_gpu_where_there_is_one_unless_told_otherwise():
    assert room({"CPU": 4, "GPU": 2}).shape(RESNET).gpus == 1
    assert room({"CPU": 4, "GPU": 2}).shape(SVM).gpus == 0
    assert room({"CPU": 4}).shape(RESNET).gpus == 0
    assert room({"CPU": 4, "GPU": 2}, resnet={"gpus": 0}).shape(RESNET).gpus == 0


def test_more_than_one_gpu_is_a_whole_number():
    with pytest.raises(ValidationError, match=r"whole numbers can be had; received 1.5"):
        Resources.model_validate({"resnet": {"gpus": 1.5}})


def test_neither_gpus_nor_cpus_stand_idle():
    mixed = room({"CPU": 4, "GPU": 1})
    assert mixed.idle([]) == (RESNET,)
    assert mixed.idle([RESNET]) == (SVM,)
    assert mixed.idle([RESNET, SVM, SVM]) == (SVM,)
    assert mixed.idle([SVM, SVM, SVM]) == (RESNET,)
    shared = room({"CPU": 4, "GPU": 1}, resnet={"gpus": 0.25})
    assert shared.idle([RESNET]) == (SVM,)
    assert shared.idle([RESNET, SVM]) == (RESNET,)
    assert room({"CPU": 4}, resnet={"cpus": 2}).idle([SVM]) == (SVM, RESNET)


def test_machines_come_and_go_but_a_trial_stays_what_it_is():
    changing = room({"CPU": 2}, resnet={"cpus": 2})
    assert not changing.fits(RESNET, [SVM])
    changing.update([{"CPU": 2}, {"CPU": 2, "GPU": 1}])
    assert changing.fits(RESNET, [SVM])
    assert changing.shape(RESNET).gpus == 0  # decided when the search began
    changing.update([])
    assert changing.is_full([])


def test_a_cluster_that_grows_need_hold_nothing_yet():
    empty = Room(Resources(), [], (SVM, RESNET), grows=True)
    assert empty.is_full([])
    empty.update([{"CPU": 1}])
    assert empty.fits(SVM, [])


def test_where_gpu_and_cpu_trials_cannot_run_side_by_side_the_sampler_chooses():
    for machine in ({"CPU": 1, "GPU": 1}, {"CPU": 1}):
        assert set(room(machine).idle([])) == {SVM, RESNET}
    assert set(room({"CPU": 4, "GPU": 1}, resnet={"cpus": 4}).idle([])) == {SVM, RESNET}


def test_the_idle_kind_is_one_that_fits():
    """Three of four GPUs are busy and half of the CPU trials run, but the next one asks for more CPUs than are free."""
    large = room({"CPU": 16, "GPU": 4}, svm={"cpus": 8})
    running = [RESNET, RESNET, RESNET, SVM]
    assert not large.fits(SVM, running)
    assert large.idle(running) == (RESNET,)


def test_gpus_limit_how_many_trials_run_at_once():
    families = {"svm": {"gpus": 0.5}, "resnet": {"gpus": 1}}
    assert room({"CPU": 16, "GPU": 1}, **families).concurrency == 2
    assert room({"CPU": 16, "GPU": 1}).concurrency == 16


def test_a_kind_that_fits_on_no_machine_is_not_waited_for():
    node = {"CPU": 4}
    growing = Room(Resources.model_validate({"resnet": {"gpus": 1}}), [node], (SVM, RESNET), grows=True)
    assert growing.idle([]) == (SVM,)
    growing.update([node, {"CPU": 4, "GPU": 1}])
    assert growing.idle([]) == (RESNET,)


def test_the_most_that_trials_occupy_at_once():
    def busiest(families: list[Family], nodes: list[dict[str, float]], **resources: dict[str, float]) -> Shape:
        return Room(Resources.model_validate(resources), nodes, families).busiest

    wide = [{"CPU": 64.0, "GPU": 1.0}]
    assert busiest([RESNET], wide) == (1, 1)
    assert busiest([SVM], wide) == (64, 0)
    assert busiest([SVM, RESNET], wide) == (64, 1)
    assert busiest([SVM], [{"CPU": 3.0}] * 4, svm={"cpus": 2}) == (8, 0), "one on each machine"
    assert busiest([SVM], [{"CPU": 10_000.0}] * 9) == (90_000, 0)
