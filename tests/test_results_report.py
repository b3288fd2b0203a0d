"""The report is one file that needs no network and shows what the run folder says, nothing of it taken for markup."""

import json
import shutil
from html.parser import HTMLParser

import pytest
import yaml
from finished_run import TINY, add_trial, make_run

from results.journal import Journal, LineWriter
from results.readings import READING, Figures, Reading
from results.report import write_report
from results.report_facts import duration, facts_of
from results.report_parameters import MINIMUM, parameters
from results.report_search import costs, rungs
from results.run_folder import RunFolder
from results.schema import Measurement, SessionEnd, SessionStart, Status, TrialEnd, TrialStart
from results.selection import Rules, select
from spaces.errors import InputError
from spaces.family import Family
from spaces.svm import SvmConfig
from trainables.data.spec import DataSpec

SVM = TINY[Family.SVM]
LIMIT = 10_000_000
SECTIONS = (
    "summary",
    "leaderboard",
    "selection",
    "anytime",
    "learning-curves",
    "parameters",
    "importance",
    "rungs",
    "cost",
    "confusion",
    "reliability",
    "mistakes",
    "provenance",
)
FRONT = "pareto-front"  # where there are several objectives
SPACE = {"families": ["svm"], "svm": {"kernel": ["linear", "rbf"], "features": {"kind": "hog", "hog_cell": [6, 8]}}}


class Page(HTMLParser):
    """A report as a browser takes it: sections with their words, plots and pictures, and all addresses."""

    def __init__(self, html: str) -> None:
        super().__init__()
        sections = (*SECTIONS, FRONT)
        self.words = dict.fromkeys(sections, "")
        self.plots = {section: [] for section in sections}
        self.pictures = dict.fromkeys(sections, 0)
        self.addresses, self.tags = [], set()
        self._section, self._script = "", None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.add(tag)
        self.addresses += [values[name] for name in ("src", "href", "srcset", "action", "data") if name in values]
        if tag == "section":
            self._section = values["id"]
        elif tag == "script":
            self._script = values.get("type", "code")
        elif tag == "img":
            self.pictures[self._section] += 1

    def handle_endtag(self, tag):
        if tag == "script":
            self._script = None
        elif tag == "section":
            self._section = ""

    def handle_data(self, data):
        if self._script == "application/json":
            self.plots[self._section].append(json.loads(data))
        elif self._script is None and self._section:
            self.words[self._section] += data


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    """A selected run of two families, its test set read once."""
    run = make_run(tmp_path_factory.mktemp("runs") / "finished", cache, [SVM, TINY[Family.FOREST]])
    set_plan(run, space=SPACE)
    select(run, cache, Rules(top=2))
    return run


@pytest.fixture
def run(finished, tmp_path):
    return RunFolder(shutil.copytree(finished.path, tmp_path / "run"))


@pytest.fixture
def empty(tmp_path):
    """A run whose trials never measure anything unless a test writes that they do."""
    path = tmp_path / "empty"
    path.mkdir()
    run = RunFolder(path)
    run.plan.write_text(yaml.safe_dump({"data": DataSpec().model_dump(mode="json"), "fidelity": {"maximum": 9}}))
    set_plan(run, space=SPACE)
    return run


def set_plan(run, **sections):
    run.plan.write_text(yaml.safe_dump({**run.plan_values(), **sections}))


def page_of(run, cache):
    write_report(run, cache)
    return Page(run.report.read_text())


def add(run, trial, reached=(), status=None, reason="", config=SVM, time=0.0):
    """A trial that measured `reached`, accuracies by fidelity, and ended as `status`, None if it has not ended."""
    with Journal(run.measurements) as journal:
        values = config.model_dump(mode="json")
        family = Family(config.family)
        journal.append(TrialStart(trial=trial, time=time, family=family, config=values, seed=0))
        for fidelity, accuracy in dict(reached).items():
            journal.append(
                Measurement(
                    trial=trial,
                    time=time + fidelity,
                    fidelity=fidelity,
                    val_accuracy=accuracy,
                    val_macro_f1=accuracy,
                    val_log_loss=1.0,
                    val_recall=(accuracy,) * 3,
                    fit_seconds=fidelity,
                    total_seconds=fidelity,
                    images_per_second=1.0,
                    cache_hit=True,
                    checkpoint=f"checkpoints/{trial:05d}/{fidelity}",
                )
            )
        if status:
            journal.append(TrialEnd(trial=trial, time=time + 10, status=status, reason=reason))


def test_a_finished_run_has_a_figure_in_every_section(run, cache):
    page = page_of(run, cache)
    kinds = {section: [plot["data"][0]["type"] for plot in plots] for section, plots in page.plots.items() if plots}
    assert kinds["anytime"] == kinds["learning-curves"] == ["scatter"]
    assert kinds["rungs"] == kinds["cost"] == ["bar"]
    assert kinds["confusion"] == ["heatmap", "heatmap"]
    assert kinds["reliability"] == ["scatter"]
    assert page.pictures["mistakes"] > 0
    assert all(page.words[section].strip() for section in SECTIONS)


def test_the_selection_says_whom_it_compared_and_why_the_winner_won(run, cache):
    words = " ".join(page_of(run, cache).words["selection"].split())
    assert "Why: it" in words
    assert "McNemar's exact test" in words
    facts = facts_of(run, cache)
    for row in facts.selection.compared["candidates"]:
        low, high = row["val_accuracy_ci"]
        assert f"{row['val_accuracy_mean']:.4f} [{low:.4f}, {high:.4f}]" in words
    shutil.rmtree(run.selection)
    assert "Nothing has been selected" in page_of(run, cache).words["selection"]


def test_the_file_needs_no_network_and_is_small(run, cache):
    written = write_report(run, cache)
    page = Page(run.report.read_text())
    assert page.addresses
    assert [address for address in page.addresses if not address.startswith(("#", "data:image/png;base64,"))] == []
    assert page.tags.isdisjoint({"link", "iframe", "object", "embed", "base"})
    assert "default-src 'none'" in run.report.read_text()
    assert written["bytes"] == run.report.stat().st_size < LIMIT
    assert run.report.read_text().count("plotly.js v") == 1


def test_the_summary_says_what_was_found_and_how_often_test_was_read(run, cache):
    words = page_of(run, cache).words["summary"]
    facts = facts_of(run, cache)
    assert "The search tried svm, forest on demo" in words
    assert "2 trials (2 finished)" in words
    assert f"{facts.finished[0].val_accuracy:.4f} on validation" in words
    assert f"expected to be {facts.selection.compared['optimism']['expected']:.4f} too high" in words
    assert "The test set has been read once." in words
    assert f"{facts.reading.test.accuracy:.4f} [" in words


def test_the_test_figures_are_those_on_record(run, cache):
    shutil.rmtree(run.selection)
    figures = Figures(
        accuracy=0.5,
        accuracy_ci=(0.4, 0.6),
        macro_f1=0.5,
        log_loss=1.0,
        recall=(0.5, 0.5, 0.5),
        confusion=((71, 1, 2), (3, 4, 5), (6, 7, 8)),
        n=107,
    )
    winner = facts_of(run, cache).winner
    with LineWriter(run.test_readings, READING) as record:
        checkpoint = winner.measurements[-1].checkpoint
        record.append(
            Reading(time=9.0, trial=winner.trial, checkpoint=checkpoint, val_accuracy_ci=(0, 1), test=figures)
        )
    page = page_of(run, cache)
    assert "read 2 times" in page.words["summary"]
    assert "optimistic" in page.words["summary"]
    assert page.plots["confusion"][1]["data"][0]["text"][0][0].startswith("71<br>")


def test_a_test_set_that_was_not_read_stays_unread(run, cache, monkeypatch):
    run.test_readings.unlink()
    shutil.rmtree(run.selection)
    monkeypatch.setattr("trainables.data.protocol.load_test", None)
    monkeypatch.setattr("results.readings.load_test", None)
    page = page_of(run, cache)
    assert "The test set has not been read." in page.words["summary"]
    assert len(page.plots["confusion"]) == 1
    assert not run.test_readings.exists()


def test_without_a_selection_the_optimism_is_estimated(run, cache):
    expected = facts_of(run, cache).selection.compared["optimism"]["expected"]
    shutil.rmtree(run.selection)
    facts = facts_of(run, cache)
    assert facts.selection is None
    assert facts.validation.optimism == pytest.approx(expected)


def test_a_selection_from_before_a_trial_finished_does_not_count(run, cache):
    add_trial(run, cache, 2, SVM.model_copy(update={"C": 1.0}))
    assert facts_of(run, cache).selection is None


def test_a_missing_source_is_told_where_it_is_missed(run, tmp_path):
    set_plan(run, data={**run.plan_values()["data"], "source": str(tmp_path / "gone.csv")})
    written = write_report(run, tmp_path / "another-cache")
    page = Page(run.report.read_text())
    assert "gone.csv" in written["missing"]
    for section in ("confusion", "reliability", "mistakes"):
        assert "gone.csv" in page.words[section]
    assert len(page.plots["confusion"]) == 1  # the one of the recorded reading of the test set
    assert page.plots["anytime"]


def test_another_split_than_the_runs_is_not_shown(run, cache):
    run.provenance.write_text(json.dumps({"data": {"fingerprint": "another", "split": "another"}}))
    assert "are not those the run began with" in page_of(run, cache).words["mistakes"]


def test_what_comes_from_files_is_no_markup(run, cache):
    evil = "</script><script>alert(1)</script><img src=http://example.org/x>"
    add(run, 2, status=Status.FAILED, reason=evil)
    values = run.provenance_values()
    run.provenance.write_text(json.dumps({**values, "evil": evil}))
    set_plan(run, evil=evil)
    page = page_of(run, cache)
    assert evil in page.words["leaderboard"]
    assert evil in page.words["provenance"]
    assert "alert(1)</script>" not in run.report.read_text()
    assert not any("example.org" in address for address in page.addresses)


def test_a_choice_with_markup_is_no_markup_to_plotly(empty, cache):
    evil = "<b>x</b>"
    resnet = TINY[Family.RESNET]
    choices = {"weights": [evil, "none"], "image_size": [32], "epochs": [1]}
    set_plan(empty, space={"families": ["resnet"], "resnet": choices})
    for trial, weights in enumerate((evil, "none")):
        add(empty, trial, {1: 0.5}, config=resnet.model_copy(update={"weights": weights}))
    (plot,) = page_of(empty, cache).plots["parameters"]
    axis = next(axis for axis in plot["data"][0]["dimensions"] if axis["label"] == "weights")
    assert axis["ticktext"] == ["&lt;b&gt;x&lt;/b&gt;", "none"]


def test_runs_without_a_measurement_are_reported(empty, cache):
    assert "No trial has been measured yet." in page_of(empty, cache).words["summary"]
    add(empty, 0)
    page = page_of(empty, cache)
    assert "1 trial (1 unfinished)" in page.words["summary"]
    assert "No trial has finished yet." in page.words["mistakes"]


def test_an_unfinished_run_shows_how_far_it_came(empty, cache):
    add(empty, 0, {1: 0.4, 3: 0.5})
    page = page_of(empty, cache)
    assert "furthest is trial 0, svm, with a balanced accuracy of 0.5000" in page.words["summary"]
    add(empty, 1, {1: 0.8})
    set_plan(empty, constraints=["val_accuracy >= 0.7"])
    assert "furthest is trial 0, svm, with" in page_of(empty, cache).words["summary"], "though it breaks the constraint"
    assert page.plots["learning-curves"][0]["data"][0]["x"] == [1, 3, None]
    assert page.plots["anytime"] == []


def test_a_fake_run_has_all_but_what_a_model_says(empty, cache):
    set_plan(empty, fake={"seconds": 1.0})
    add(empty, 0, {1: 0.4, 3: 0.5, 9: 0.6}, Status.FINISHED)
    page = page_of(empty, cache)
    assert "fake" in page.words["mistakes"]
    assert page.plots["anytime"]
    assert "by how much is not known" in page.words["summary"]


def test_time_between_sessions_is_not_counted(empty, cache):
    with Journal(empty.measurements) as journal:
        journal.append(SessionStart(time=0.0))
    add(empty, 0, {1: 0.4, 9: 0.5}, Status.FINISHED)
    with Journal(empty.measurements) as journal:
        journal.append(SessionEnd(time=60.0))
        journal.append(SessionStart(time=10_000.0))
    add(empty, 1, {1: 0.4, 9: 0.6}, Status.FINISHED, time=10_050.0)
    page = page_of(empty, cache)
    assert "for 2 min 0 s in 2 sessions" in page.words["summary"]
    (best,) = page.plots["anytime"][0]["data"]
    assert best["x"] == [pytest.approx(10 / 60, abs=1e-3), 2.0, 2.0]
    assert best["y"] == [0.5, 0.6, 0.6]


def test_rungs_and_costs_add_up(empty, cache):
    add(empty, 0, {1: 0.4, 3: 0.5, 9: 0.6}, Status.FINISHED)
    add(empty, 1, {1: 0.4, 3: 0.5}, Status.STOPPED)
    add(empty, 2, {1: 0.4}, Status.FAILED, "out of memory")
    add(empty, 3, {1: 0.4})
    facts = facts_of(empty, cache)
    found = [(row.rung, row.reached, row.passed, row.stopped, row.left) for row in rungs(facts)]
    assert found == [(1, 4, 2, 0, 2), (3, 2, 1, 1, 0), (9, 1, 1, 0, 0)]
    (cost,) = costs(facts.records)
    assert (cost.trials, cost.seconds, cost.finished_seconds, cost.share) == (4, 9 + 3 + 1 + 1, 9, 1.0)
    assert (cost.in_memory, cost.measured) == (4, 4)


def test_importance_finds_the_parameter_that_matters(empty, cache):
    for trial in range(MINIMUM + 10):
        config = SvmConfig(kernel=("linear", "rbf")[trial % 2], C=1.0 + trial % 7)
        add(empty, trial, {1: 0.4 + 0.2 * (trial % 2)}, Status.STOPPED, config=config)
    _, (part,) = parameters(facts_of(empty, cache))
    (plot,) = page_of(empty, cache).plots["importance"]  # one: all trials with gamma have the same accuracy
    assert plot["data"][0]["y"][-1] == "kernel"
    assert plot["data"][0]["x"][-1] > 0.9
    assert "fidelity 1" in part.notes[0]
    assert any("gamma" in note and "same accuracy" in note for note in part.notes)


def test_too_few_trials_for_importance_is_said(empty, cache):
    for trial in range(MINIMUM - 1):
        add(empty, trial, {1: 0.4 + trial / 100}, Status.STOPPED)
    assert f"Too few trials: {MINIMUM - 1} measured" in page_of(empty, cache).words["importance"]


def test_unused_parameters_have_a_place_of_their_own(empty, cache):
    add(empty, 0, {1: 0.4}, config=SvmConfig(kernel="linear"))
    add(empty, 1, {1: 0.5}, config=SvmConfig(kernel="rbf", gamma=2.0))
    (plot,) = page_of(empty, cache).plots["parameters"]
    axes = {axis["label"]: axis for axis in plot["data"][0]["dimensions"]}
    assert axes["gamma"]["ticktext"][0] == "unused"
    # best first: the rbf one is on the axis proper, the linear one below it
    assert axes["gamma"]["values"][0] > axes["gamma"]["tickvals"][1] > axes["gamma"]["values"][1]
    assert "unused" not in axes["C"]["ticktext"]


def test_a_config_that_is_not_of_the_space_is_told(empty, cache):
    add(empty, 0, {1: 0.4}, config=SvmConfig(kernel="poly"))
    assert "trial 0 is not of the plan's space" in page_of(empty, cache).words["parameters"]


@pytest.mark.parametrize("out", ["nowhere/report.html", ""])
def test_a_file_that_cannot_be_written_is_told_in_a_sentence(empty, cache, tmp_path, out):
    with pytest.raises(InputError, match="does not exist|is a folder"):
        write_report(empty, cache, tmp_path / out)


def test_the_report_goes_where_it_is_wanted(empty, cache, tmp_path):
    assert write_report(empty, cache, tmp_path / "other.html")["report"] == str(tmp_path / "other.html")
    assert not empty.report.exists()
    assert Page((tmp_path / "other.html").read_text()).words["summary"]


def test_the_command_writes_the_report(fertune, run):
    written = fertune.json("report", str(run.path))
    assert written["report"] == str(run.report)
    assert run.report.stat().st_size == written["bytes"]
    assert "no run here" in fertune.run("report", "nowhere", code=2).stderr


def test_durations_are_told_in_words():
    assert [duration(seconds) for seconds in (0.4, 59, 60, 3725)] == ["0 s", "59 s", "1 min 0 s", "1 h 2 min"]


def test_limits_and_other_objectives_are_told(empty, cache):
    add(empty, 0, {1: 0.4, 3: 0.5, 9: 0.6}, Status.FINISHED)
    set_plan(empty, constraints=["val_accuracy >= 0.9"])
    page = page_of(empty, cache)
    assert "No trial at full fidelity is within val_accuracy >= 0.9." in page.words["summary"]
    assert "furthest" not in page.words["summary"]
    assert "finished*" in page.words["leaderboard"]
    assert not page.words[FRONT]
    set_plan(empty, constraints=["val_log_loss <= 2"], objectives=["val_log_loss", "val_accuracy"])
    page = page_of(empty, cache)
    assert "0.6000 on validation, val_log_loss 1" in page.words["summary"]
    assert "too high" not in page.words["summary"], "it was not picked for its accuracy"
    assert "0.6000" in page.words[FRONT]
    assert "finished*" not in page.words["leaderboard"]
