# SPDX-License-Identifier: Apache-2.0
"""The report's numbers: scores, intervals, pairs and the headline are those of the predictions."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from fabricated import CURVES, evaluation, tuning
from reading import FORTY, answers, page_of, panel_of

from seal_attention.extension.parsing import parse
from seal_attention.report.boards import exhibits_of
from seal_attention.report.folders import read_runs
from seal_attention.report.headline import finding_of
from seal_attention.report.panels import base_of, panels_of
from seal_attention.report.sections.answers import ranked
from seal_attention.report.sizes import Size
from seal_attention.report.wording import bare_percent, extension_name


def test_accuracy_has_its_wilson_interval(tmp_path: Path) -> None:
    panel = panel_of(answers(tmp_path / "run", "base", {index: index < 6 for index in range(8)}))
    row = panel.score(panel.runs[0], FORTY)
    assert (row.n, row.mean) == (8, 0.75)
    assert (row.low, row.high) == pytest.approx((0.4093, 0.9285), abs=1e-4)
    assert panel.score(panel.runs[0], Size("lines", 80)) is None


def test_pairs_are_matched_by_question_and_not_by_place(tmp_path: Path) -> None:
    base = answers(tmp_path / "base", "base", {0: True, 1: False, 2: False, 3: False, 9: True})
    tuned = answers(tmp_path / "tuned", "seal-c", {3: True, 2: True, 1: True, 0: False, 7: True})
    panel = panel_of(base, tuned)
    gain = panel.gain(panel.runs[1], FORTY)
    assert (gain.n, gain.before, gain.after, gain.difference) == (4, 0.25, 0.75, 0.5)
    assert gain.p_value == pytest.approx(2 * (1 + 4) / 2**4)  # one question was lost and three were won
    assert panel.gain(panel.runs[0], FORTY) is None  # base is not compared with itself


def test_questions_of_one_name_but_other_answers_are_no_pair(tmp_path: Path) -> None:
    base = answers(tmp_path / "base", "base", {0: True, 1: True})
    tuned = answers(tmp_path / "tuned", "seal-c", {0: True, 1: True}, answers=("other",))
    panel = panel_of(base, tuned)
    assert panel.gain(panel.runs[1], FORTY) is None


def test_tuned_run_with_given_words_is_compared_with_base_given_them_too(tmp_path: Path) -> None:
    methods = ("base", "base-prefixed", "seal-h", "seal-h-prefixed")
    panel = panel_of(*(answers(tmp_path / method, method, {0: True}) for method in methods))
    bases = {run.method: base and base.method for run in panel.runs if (base := base_of(run, panel.runs)) or True}
    assert bases == {"base": None, "base-prefixed": "base", "seal-h": "base", "seal-h-prefixed": "base-prefixed"}


def test_headline_is_of_the_longest_size_and_not_of_the_prettiest(tmp_path: Path) -> None:
    runs = [evaluation(tmp_path / method, method, questions=100) for method in ("base", "seal-h", "seal-c")]
    found = finding_of(exhibits_of(panels_of(read_runs(runs))))
    assert (found.size.amount, found.run.method, found.gain.before, found.gain.after) == (160, "seal-c", 0.01, 0.84)
    assert (
        "smollm2-135m gets 1\u00a0% of answers right at 160\u00a0lines; with SEAL-C, 84\u00a0%."
        in page_of(tmp_path, *runs).text
    )


def test_headline_says_what_the_base_ran_under_and_lengths_as_they_are_typed(tmp_path: Path) -> None:
    extend = "self-extend:32768"
    runs = [evaluation(tmp_path / method, method, questions=100, extend=extend) for method in ("base", "seal-c")]
    text = page_of(tmp_path, *runs).text
    assert (
        "smollm2-135m with self-extend:32k gets 1\u00a0% of answers right at 160\u00a0lines; "
        "with SEAL-C, self-extend:32k, 84\u00a0%."
    ) in text
    assert f"SEAL-C, {extend}" not in text
    alone = page_of(tmp_path, evaluation(tmp_path / "plain", "base", questions=100), runs[1]).text
    assert "smollm2-135m gets 1\u00a0% of answers right at 160\u00a0lines; with SEAL-C, self-extend:32k, 84" in alone


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("ntk:4", "ntk:4"),
        ("yarn:2.5", "yarn:2.5"),
        ("self-extend:5000", "self-extend:5000"),
        ("self-extend:group=6,window=1024", "self-extend:group=6,window=1k"),
    ],
)
def test_an_extension_is_shown_as_it_can_be_typed(given: str, shown: str) -> None:
    assert extension_name(given) == shown
    assert parse(shown) == parse(given)


def test_headline_passes_over_sizes_at_which_nobody_was_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for method, curve in {"base": {20: 0.1, 40: 0.0, 80: 0.0}, "seal-c": {20: 0.9, 40: 0.5, 80: 0.0}}.items():
        monkeypatch.setitem(CURVES, method, curve)
    runs = [evaluation(tmp_path / method, method, questions=10) for method in ("base", "seal-c")]
    found = finding_of(exhibits_of(panels_of(read_runs(runs))))
    assert (found.size.amount, found.gain.before, found.gain.after) == (40, 0.0, 0.5)
    assert "both answered at the longest size at which any answer was right (" in page_of(tmp_path, *runs).text
    for method in ("base", "seal-c"):
        monkeypatch.setitem(CURVES, method, {20: 0.0, 40: 0.0})
    runs = [evaluation(tmp_path / f"{method}-lost", method, questions=10) for method in ("base", "seal-c")]
    assert finding_of(exhibits_of(panels_of(read_runs(runs)))).size.amount == 40


def test_headline_counts_only_what_both_answered(tmp_path: Path) -> None:
    base = answers(tmp_path / "base", "base", {0: False, 1: False, 2: True, 3: True})
    tuned = answers(tmp_path / "tuned", "seal-c", {0: True, 1: True})
    found = finding_of([panel_of(base, tuned)])
    assert (found.gain.before, found.gain.after, found.gain.n) == (0.0, 1.0, 2)


def test_few_is_never_shown_as_none_nor_nearly_all_as_all(tmp_path: Path) -> None:
    nearly = page_of(tmp_path, answers(tmp_path / "run", "base", {index: index > 0 for index in range(250)}))
    assert "99.6\u00a0%" in nearly.text
    assert "100\u00a0%" not in re.sub(r"\u2013100\u00a0%", "", nearly.text)


def test_smoothed_loss_starts_where_the_loss_starts_and_keeps_a_constant(tmp_path: Path) -> None:
    (run,) = read_runs([tuning(tmp_path / "run", "seal-h", steps=5)])
    assert run.smoothed_losses[0] == pytest.approx(run.steps[0].loss)
    flat = dataclasses.replace(run, steps=tuple(dataclasses.replace(step, loss=2.0) for step in run.steps))
    assert flat.smoothed_losses == pytest.approx([2.0] * 5)


def test_questions_where_runs_differ_come_first(tmp_path: Path) -> None:
    base = answers(tmp_path / "base", "base", dict.fromkeys(range(6), False))
    tuned = answers(tmp_path / "tuned", "seal-c", {index: index in (3, 5) for index in range(6)})
    shown = ranked(panel_of(base, tuned), FORTY)[:3]
    assert [next(iter(row.values())).question.split("/")[1] for row in shown] == ["3", "5", "0"]


def test_right_and_wrong_are_told_in_words(tmp_path: Path) -> None:
    page = page_of(tmp_path, answers(tmp_path / "run", "base", {0: True, 1: False}))
    assert page.text.count("\u2713 right") == 1
    assert page.text.count("\u2717 wrong") == 1


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.1346, "13"),
        (0.9053, "91"),
        (0.0001, "0.1"),
        (0.0017, "0.2"),
        (0.0096, "1"),
        (0.9983, "99.8"),
        (0.99999, "99.9"),
    ],
)
def test_a_share_is_rounded_once_and_a_few_never_to_none(share: float, shown: str) -> None:
    assert bare_percent(share) == shown


@pytest.mark.parametrize(("share", "shown"), [(0.0, "0"), (1.0, "100"), (1 - 1e-16, "100")])
def test_none_and_all_are_whole(share: float, shown: str) -> None:
    assert bare_percent(share) == shown


def test_headline_of_a_tuned_run_alone_says_that_it_is_tuned(tmp_path: Path) -> None:
    page = page_of(tmp_path, evaluation(tmp_path / "run", "seal-c", questions=100))
    assert "smollm2-135m with SEAL-C gets 84\u00a0% of answers right at 160\u00a0lines." in page.text
    assert "no pair of a base run and a tuned run to compare yet" in page.text
