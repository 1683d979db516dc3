# SPDX-License-Identifier: Apache-2.0
"""Benchmarks in the report: averages of tasks, lengths in tokens, effective lengths, scores that are fractions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import several
from fabricated import evaluation
from reading import Page, page_of
from several import answer, lines_by_tokens, longbench, ruler, run

from seal_attention.report.boards import Board, exhibits_of, titles
from seal_attention.report.figures import score_figure
from seal_attention.report.folders import read_runs
from seal_attention.report.headline import effective_words, finding_of
from seal_attention.report.panels import Panel, panels_of
from seal_attention.report.sizes import Size, size_of
from seal_attention.tasks import GROUPS

METHODS = ("base", "seal-h", "seal-c")
EIGHT = Size("length", 8192)


@pytest.fixture(autouse=True)
def benchmarks() -> Iterator[None]:
    with patch.dict(GROUPS, several.GROUPS, clear=True):
        yield


def exhibits(*folders: Path) -> list[Board | Panel]:
    return exhibits_of(panels_of(read_runs(folders)))


def scored(folder: Path, method: str, scores: dict[tuple[str, int], list[float]]) -> Path:
    """A run with the given scores by task and length."""
    records = [
        answer(task, {"length": length}, index, method, {"ruler": score})
        for (task, length), held in scores.items()
        for index, score in enumerate(held)
    ]
    return run(folder, method, records)


def tables(page: Page) -> list[str]:
    """The text of every table, its cells apart."""
    found = re.findall(r"<table.*?</table>", page.source, re.DOTALL)
    return [
        re.sub(r"(\s*\|)+\s*", " | ", re.sub(r"<wbr>|<[^>]+>", lambda tag: "" if "wbr" in tag[0] else "|", table))
        for table in found
    ]


# ---- sizes


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ({"lines": 1}, "1\u00a0line"),
        ({"lines": 1350}, "1,350\u00a0lines"),
        ({"length": 4096}, "4k\u00a0tokens"),
        ({"length": 131072, "depth": 50}, "128k\u00a0tokens"),
        ({"length": 5000}, "5,000\u00a0tokens"),
        ({"units": 3}, "3\u00a0units"),
        ({"noise_lines": 20}, "20\u00a0noise lines"),
        ({}, "all questions"),
    ],
)
def test_a_size_is_named_by_its_unit(cell: dict[str, int], name: str) -> None:
    assert size_of(cell).name == name


def test_lines_and_tokens_never_share_an_axis(tmp_path: Path) -> None:
    by_lines = evaluation(tmp_path / "lines", "base", questions=4)
    by_tokens = lines_by_tokens(tmp_path / "tokens", "base", questions=4)
    found = exhibits(by_lines, by_tokens)
    assert titles(found) == ["lines, sized in lines", "lines, sized in tokens"]
    figures = [score_figure(exhibit) for exhibit in found]
    assert [list(figure.layout.xaxis.ticktext) for figure in figures] == [
        ["20", "40", "80", "160"],
        ["1k", "2k", "4k", "8k"],
    ]
    assert [figure.layout.xaxis.type for figure in figures] == ["log", "log"]
    assert [run.label for exhibit in found for run in exhibit.runs] == ["base", "base"]  # they never meet


def test_many_lengths_are_not_all_written_under_the_axis(tmp_path: Path) -> None:
    lengths = range(1000, 16001, 500)
    (panel,) = exhibits(scored(tmp_path / "run", "base", {("vt", length): [1.0] for length in lengths}))
    shown = score_figure(panel).layout.xaxis.tickvals
    assert 3 <= len(shown) <= 6
    assert max(shown) == 16000


def test_runs_that_never_meet_need_no_folder_in_their_names(tmp_path: Path) -> None:
    folders = [ruler(tmp_path / "ruler", "base"), longbench(tmp_path / "longbench", "base")]
    assert [run.label for run in read_runs(folders)] == ["base", "base"]
    again = ruler(tmp_path / "again", "base", tasks=["cwe"])  # another task, but of the same benchmark
    assert sorted(run.label for run in read_runs([*folders, again])) == ["base", "base (again)", "base (ruler)"]


def test_runs_that_asked_a_benchmark_task_by_task_are_one_row(tmp_path: Path) -> None:
    given = {"base": ([0.0, 1.0], [0.5, 0.0]), "seal-c": ([1.0, 1.0], [0.5, 1.0])}
    cells = {method: {("vt", 8192): vt, ("cwe", 8192): cwe} for method, (vt, cwe) in given.items()}
    whole = [scored(tmp_path / "whole" / method, method, held) for method, held in cells.items()]
    apart = [
        scored(tmp_path / cell[0] / method, method, {cell: scores})
        for method, held in cells.items()
        for cell, scores in held.items()
    ]
    (pieced,), (single,) = exhibits(*apart), exhibits(*whole)
    assert [run.label for run in pieced.runs] == [run.label for run in single.runs]
    assert [pieced.score(run, EIGHT) for run in pieced.runs] == [single.score(run, EIGHT) for run in single.runs]
    assert [pieced.gain(run, EIGHT) for run in pieced.runs] == [single.gain(run, EIGHT) for run in single.runs]
    assert not single.pieced
    assert {label: len(runs) for label, runs in pieced.pieced.items()} == {run.label: 2 for run in single.runs}
    assert "base joins 2\u00a0runs" in page_of(tmp_path, *apart).text


# ---- averages


def test_average_is_the_plain_mean_of_tasks_whatever_their_questions(tmp_path: Path) -> None:
    (board,) = exhibits(scored(tmp_path / "run", "base", {("vt", 8192): [1.0] * 9, ("cwe", 8192): [0.0] * 3}))
    score = board.score(board.runs[0], EIGHT)
    assert (score.mean, score.n, score.tasks) == (0.5, 12, 2)
    assert score.low < 0.4 < 0.6 < score.high


def test_no_average_over_fewer_tasks_than_the_others_have(tmp_path: Path) -> None:
    whole = scored(tmp_path / "base", "base", {("vt", 8192): [1.0], ("cwe", 8192): [0.0], ("vt", 4096): [1.0]})
    part = scored(tmp_path / "seal-c", "seal-c", {("vt", 8192): [1.0]})
    (board,) = exhibits(whole, part)
    assert board.score(board.runs[0], EIGHT).mean == 0.5
    assert board.score(board.runs[1], EIGHT) is None
    assert board.gain(board.runs[1], EIGHT) is None
    averages = tables(page_of(tmp_path, whole, part))[0]
    assert "SEAL-C | \u2013 | \u2013 | 1 of 2\u00a0tasks | \u2013" in averages


def test_tasks_stand_in_the_benchmark_s_order_and_the_rule_is_in_words(tmp_path: Path) -> None:
    page = page_of(tmp_path, *(ruler(tmp_path / method, method, tasks=several.RULER[::-1]) for method in METHODS))
    of_base = next(table for table in tables(page) if "base: mean score of every task" in table)
    assert re.findall(r"\| (niah_\w+|vt|cwe|fwe) \|", of_base) == list(several.RULER)
    assert "Average of 5\u00a0tasks: the plain mean of their scores, every task counting the same" in page.text
    assert "by: whole words alone" in page.text
    assert "n\u00a0=\u00a0100 a length" in of_base


def test_reference_and_whole_word_score_stand_side_by_side(tmp_path: Path) -> None:
    records = [
        answer("vt", {"length": length}, index, "base", {"ruler": 0.75, "whole_words": 0.25})
        for length in (4096, 8192)
        for index in range(4)
    ]
    page = page_of(tmp_path, run(tmp_path / "run", "base", records))
    assert tables(page)[0].count("75\u00a0% | 25\u00a0% | 75\u2013 75\u00a0%".replace("\u2013 ", "\u2013")) == 2


def test_part_of_a_benchmark_is_not_called_the_benchmark(tmp_path: Path) -> None:
    (board,) = exhibits(ruler(tmp_path / "run", "base", tasks=["vt", "cwe"]))
    assert board.task == "2 of 5 RULER tasks"
    (single,) = exhibits(ruler(tmp_path / "single", "base", tasks=["vt"]))
    assert isinstance(single, Panel)


def test_headline_is_the_average_at_the_longest_length(tmp_path: Path) -> None:
    runs = [ruler(tmp_path / method, method) for method in METHODS]
    needles = [lines_by_tokens(tmp_path / f"lines-{method}", method) for method in METHODS]
    found = finding_of(exhibits(*needles, *runs))
    assert (found.exhibit.task, found.size, found.run.label) == ("RULER", EIGHT, "SEAL-C")
    page = page_of(tmp_path, *needles, *runs)
    assert re.search(
        r"smollm2-135m averages \d+\u00a0% on RULER at 8k\u00a0tokens; with SEAL-C, \d+\u00a0%\.", page.text
    )
    assert "the 100\u00a0questions that both answered in 5\u00a0tasks" in page.text


def test_gain_of_an_average_weighs_tasks_alike_and_is_not_tested_by_mcnemar(tmp_path: Path) -> None:
    base = scored(tmp_path / "base", "base", {("vt", 8192): [0.0] * 8, ("cwe", 8192): [1.0, 0.0]})
    tuned = scored(tmp_path / "seal-c", "seal-c", {("vt", 8192): [0.5] * 8, ("cwe", 8192): [1.0, 1.0]})
    (board,) = exhibits(base, tuned)
    gain = board.gain(board.runs[1], EIGHT)
    assert (gain.before, gain.after, gain.difference, gain.n) == (0.25, 0.75, 0.5, 10)
    assert gain.p_value is None


# ---- effective lengths


def test_effective_length_needs_every_shorter_length(tmp_path: Path) -> None:
    scores = {1024: 1.0, 2048: 0.9, 4096: 0.8, 8192: 0.95}
    folder = scored(tmp_path / "run", "base", {("vt", length): [score] * 4 for length, score in scores.items()})
    (panel,) = exhibits(folder)
    assert panel.effective(panel.runs[0]) == Size("length", 2048)
    assert effective_words(panel, panel.runs[0]) == "2k\u00a0tokens"


@pytest.mark.parametrize(
    ("scores", "words"), [((0.84, 1.0), "below 4k\u00a0tokens"), ((0.85, 0.85), "at least 8k\u00a0tokens")]
)
def test_effective_length_is_a_bound_where_the_lengths_end(tmp_path: Path, scores: tuple, words: str) -> None:
    held = {("vt", length): [score] * 4 for length, score in zip((4096, 8192), scores, strict=True)}
    (panel,) = exhibits(scored(tmp_path / "run", "base", held))
    assert effective_words(panel, panel.runs[0]) == words


def test_effective_length_of_a_benchmark_is_that_of_its_average(tmp_path: Path) -> None:
    held = {("vt", 4096): [1.0], ("cwe", 4096): [0.8], ("vt", 8192): [0.9], ("cwe", 8192): [0.7]}
    folder = scored(tmp_path / "run", "base", held)
    (board,) = exhibits(folder)
    assert effective_words(board, board.runs[0]) == "4k\u00a0tokens"
    page = page_of(tmp_path, folder)
    assert page.text.index("Effective length on") < page.text.index("Scores")  # before the first section
    assert "RULER\u2019s own bar is 85.6\u00a0%" in page.text


# ---- scores that are fractions, and data without sizes


def test_fractions_are_scores_and_not_answers_right(tmp_path: Path) -> None:
    folders = [longbench(tmp_path / method, method, tasks=["hotpotqa"]) for method in METHODS]
    page = page_of(tmp_path, *folders)
    assert re.search(r"smollm2-135m scores \d+\u00a0% on hotpotqa; with SEAL-C, \d+\u00a0%\.", page.text)
    assert "Mean score, above its 95\u00a0% interval" in page.text
    for wrong in ("answered right", "answers right", "Accuracy", "McNemar", "p\u00a0="):
        assert wrong not in page.text
    assert page.figures == []  # a single size makes no curve


def test_interval_of_fractions_is_narrower_than_wilson_s(tmp_path: Path) -> None:
    scores = [0.4, 0.5, 0.6] * 10
    (panel,) = exhibits(scored(tmp_path / "run", "base", {("vt", 4096): scores}))
    score = panel.score(panel.runs[0], Size("length", 4096))
    assert (score.low, score.high) == pytest.approx((0.4703, 0.5297), abs=1e-4)


def test_data_sets_without_sizes_share_a_table_with_each_its_rule(tmp_path: Path) -> None:
    page = page_of(tmp_path, *(longbench(tmp_path / method, method) for method in METHODS))
    scores, differences = tables(page)[:2]
    for task, rule in (("hotpotqa", "F1"), ("gov_report", "ROUGE-L"), ("passage_retrieval_en", "retrieval")):
        assert f"| {task} | by {rule} | n\u00a0=\u00a030 |" in scores
    assert "Average of 3\u00a0tasks" in scores
    assert differences.count("p\u00a0&lt;\u00a00.001") == 2  # only retrieval is right or wrong
    assert "all questions" not in page.text


def test_data_sets_of_no_benchmark_are_not_averaged(tmp_path: Path) -> None:
    records = [answer(task, {}, index, "base", {"f1": 0.5}) for task in ("mine", "yours") for index in range(3)]
    page = page_of(tmp_path, run(tmp_path / "run", "base", records))
    assert "Average" not in page.text
    assert "smollm2-135m answered mine, yours." in page.text
