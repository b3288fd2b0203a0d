"""The journal keeps every whole line, whatever byte a kill stopped it at."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.journal import Journal, read_events
from results.schema import (
    Event,
    Measurement,
    Preparation,
    SessionEnd,
    SessionStart,
    Status,
    TrialEnd,
    TrialStart,
    TrialTakenUp,
)
from spaces.errors import InputError
from spaces.family import Family

share = st.floats(0, 1)
seconds = st.floats(0, 1e9)
trials = st.integers(0, 10_000)
starts = st.builds(
    TrialStart,
    trial=trials,
    time=seconds,
    family=st.sampled_from(Family),
    config=st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text(), max_size=3),
    seed=st.integers(0, 2**32),
    is_drawn=st.booleans(),
)
measurements = st.builds(
    Measurement,
    trial=trials,
    time=seconds,
    fidelity=st.integers(1, 27),
    val_accuracy=share,
    val_macro_f1=share,
    val_log_loss=seconds,
    val_recall=st.tuples(share, share, share),
    fit_seconds=seconds,
    total_seconds=seconds,
    images_per_second=seconds,
    train_loss=st.none() | st.floats(-10, 10),
    learning_rate=st.none() | share,
    cache_hit=st.booleans(),
    cpus=st.none() | share,
    gpus=st.none() | share,
    checkpoint=st.text(),
)
ends = st.builds(
    TrialEnd,
    trial=trials,
    time=seconds,
    status=st.sampled_from([Status.FINISHED, Status.STOPPED, Status.FAILED]),
    reason=st.text(),
)
sessions = st.builds(SessionStart, time=seconds) | st.builds(SessionEnd, time=seconds)
preparations = st.builds(Preparation, time=seconds, cpu_seconds=seconds, gpu_seconds=seconds)
taken_up = st.builds(TrialTakenUp, time=seconds, trial=trials)
sequences = st.lists(sessions | preparations | taken_up | starts | measurements | ends, max_size=4)


def write(path: Path, events: list[Event]) -> None:
    with Journal(path) as journal:
        for event in events:
            journal.append(event)


@settings(max_examples=40, deadline=None)
@given(events=sequences, share=share)
def test_a_file_cut_at_any_byte_reads_as_a_prefix_and_can_be_continued(tmp_path_factory, events, share):
    path = tmp_path_factory.mktemp("journal") / "measurements.jsonl"
    write(path, events)
    assert read_events(path) == events

    raw = path.read_bytes()
    cut = round(share * len(raw))
    path.write_bytes(raw[:cut])
    kept = events[: raw[:cut].count(b"\n")]
    assert read_events(path) == kept

    write(path, events)
    assert read_events(path) == kept + events


EVENTS = [
    TrialStart(trial=0, time=1.0, family=Family.SVM, config={"C": 1.0}, seed=0),
    TrialEnd(trial=0, time=2.0, status=Status.STOPPED),
    TrialEnd(trial=0, time=3.0, status=Status.FINISHED),
]


def test_a_missing_file_has_no_events(tmp_path):
    assert read_events(tmp_path / "measurements.jsonl") == []


def test_a_trial_of_an_older_version_was_not_drawn(tmp_path):
    path = tmp_path / "measurements.jsonl"
    path.write_text('{"kind":"trial","trial":0,"time":1.0,"family":"svm","config":{"C":1.0},"seed":0}\n')
    assert read_events(path) == EVENTS[:1]
    assert not read_events(path)[0].is_drawn


def test_a_garbled_last_line_is_ignored_and_overwritten(tmp_path):
    path = tmp_path / "measurements.jsonl"
    write(path, EVENTS)
    path.write_bytes(path.read_bytes() + b"\0\0\0\n")
    assert read_events(path) == EVENTS
    write(path, EVENTS[:1])
    assert read_events(path) == EVENTS + EVENTS[:1]


@pytest.mark.parametrize("tail", [b"", b'{"kind": "tri'])
def test_a_broken_line_in_the_middle_is_reported_with_file_and_line(tmp_path, tail):
    path = tmp_path / "measurements.jsonl"
    write(path, EVENTS)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1][:-9] + b"\n"
    path.write_bytes(b"".join(lines) + tail)
    with pytest.raises(InputError, match=r"measurements\.jsonl, line 2: .*JSON"):
        read_events(path)


def test_a_last_line_that_is_whole_but_not_an_event_is_reported_not_cut_off(tmp_path):
    path = tmp_path / "measurements.jsonl"
    write(path, EVENTS)
    path.write_bytes(path.read_bytes() + b'{"kind": "from a later version"}\n')
    before = path.read_bytes()
    with pytest.raises(InputError, match="line 4"):
        Journal(path)
    assert path.read_bytes() == before


def test_lines_are_readable_while_the_writer_is_open(tmp_path):
    path = tmp_path / "measurements.jsonl"
    with Journal(path) as journal:
        for count, event in enumerate(EVENTS, start=1):
            journal.append(event)
            assert read_events(path) == EVENTS[:count]


def test_the_lines_of_ten_thousand_trials_are_read_in_seconds(tmp_path):
    path = tmp_path / "measurements.jsonl"
    measured = Measurement(
        trial=0,
        time=1.0,
        fidelity=1,
        val_accuracy=0.5,
        val_macro_f1=0.5,
        val_log_loss=1.0,
        val_recall=(0.5, 0.5, 0.5),
        fit_seconds=1.0,
        total_seconds=1.0,
        images_per_second=100.0,
        cache_hit=False,
        checkpoint="checkpoints/00000/1",
    )
    write(path, [EVENTS[0], measured, measured, measured, EVENTS[2]])
    path.write_bytes(path.read_bytes() * 10_000)
    begin = time.process_time()
    assert len(read_events(path)) == 50_000
    assert time.process_time() - begin < 3
