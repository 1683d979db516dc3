# SPDX-License-Identifier: Apache-2.0
"""Claims about the bridge to lm-eval: it asks our model, adapted as ours; tasks of one's own need no network.

Skipped where lm_eval is not installed, but for what must be told then.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from adapting import randomised
from seal_attention import adapters
from seal_attention.__main__ import main
from seal_attention.errors import SealError, UsageError
from seal_attention.export.merge import merge
from seal_attention.knowledge.harness import Examination, examine, rows_of, summary, task_manager
from seal_attention.knowledge.perplexity import start_token, token_losses, windows
from seal_attention.knowledge.plain_text import Document
from seal_attention.loading import load
from seal_attention.models import LoadedModel
from seal_attention.runs import Run

needs_lm_eval = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="lm_eval is not installed (pip install 'seal-attention[lm-eval]')",
)

SUMS = """task: seal_sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/sums.jsonl}}, cache_dir: {folder}/cache}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}} Answer:"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""
SAYING = """task: seal_saying
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/sums.jsonl}}, cache_dir: {folder}/cache}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}} Answer:"
doc_to_target: "{{{{choices[answer]}}}}"
generation_kwargs: {{until: ["."], max_gen_toks: 4}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
"""
GROUP = """group: seal_group
task: [seal_sums]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
"""
QUESTIONS = [
    {"question": f"What is {i} + {j}?", "choices": ["kzk", "qjq", "zqz", "jxj"], "answer": (i + j) % 4}
    for i in range(5)
    for j in range(4)
]


@pytest.fixture
def _own_tasks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval's index without its 14,000 tasks, which take seconds to list."""
    from lm_eval import tasks

    monkeypatch.setattr(tasks, "TaskManager", functools.partial(tasks.TaskManager, include_defaults=False))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three tasks of our own: a choice, a saying, and a group of the first."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "sums.jsonl").write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    (folder / "sums.yaml").write_text(SUMS.format(folder=folder))
    (folder / "saying.yaml").write_text(SAYING.format(folder=folder))
    (folder / "group.yaml").write_text(GROUP)
    return folder


@pytest.fixture(scope="module")
def asked(tasks: Path) -> Examination:
    """The group and the saying."""
    return Examination(("seal_group", "seal_saying"), include=str(tasks))


@pytest.fixture
def manager(asked: Examination, _own_tasks_only: None) -> Any:
    """lm-eval's index of our tasks."""
    return task_manager(asked)


def chosen(model: LoadedModel) -> list[int]:
    """The choice that the model finds likeliest, question by question, from one forward a choice."""
    picked = []
    for question in QUESTIONS:
        before = model.tokenizer(f"{question['question']} Answer:", add_special_tokens=False)["input_ids"]
        likelihoods = []
        for choice in question["choices"]:  # type: ignore[attr-defined]
            text = f"{question['question']} Answer: {choice}"
            ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
            assert ids[: len(before)] == before
            with torch.no_grad():
                logits = model.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            likelihoods.append(sum(float(logits[i - 1, ids[i]]) for i in range(len(before), len(ids))))
        picked.append(max(range(4), key=likelihoods.__getitem__))
    return picked


@needs_lm_eval
def test_scores_are_those_of_our_own_forwards_base_and_adapted(
    asked: Examination, manager: Any, tmp_path: Path
) -> None:
    model = tiny.load("llama")
    adapter = randomised("seal-c", model)
    results = examine(Run.open(tmp_path / "run", "lm-eval", {}), model, asked, manager, adapter=adapter)
    base = [choice == question["answer"] for choice, question in zip(chosen(model), QUESTIONS, strict=True)]
    with adapter.attached(model):
        tuned = [choice == question["answer"] for choice, question in zip(chosen(model), QUESTIONS, strict=True)]
    assert base != tuned  # otherwise nothing below could fail
    accuracy = {(row["method"], row["task"]): row["value"] for row in results["rows"] if row["metric"] == "acc"}
    for name in ("seal_sums", "seal_group"):
        assert accuracy["base", name] == pytest.approx(sum(base) / 20, abs=1e-6)
        assert accuracy["seal-c", name] == pytest.approx(sum(tuned) / 20, abs=1e-6)
    (pair,) = [pair for pair in results["pairs"] if pair["task"] == "seal_group"]
    assert pair["n"] == 20
    assert pair["difference"] == pytest.approx((sum(tuned) - sum(base)) / 20)
    assert pair["only_first"] == sum(a and not b for a, b in zip(base, tuned, strict=True))
    assert {row["metric"] for row in results["rows"] if row["task"] == "seal_saying"} == {"exact_match"}
    assert not any(projection.module._forward_pre_hooks for projection in model.projections)


@needs_lm_eval
def test_strength_0_and_a_merged_folder_answer_as_they_should(
    tasks: Path, manager: Any, model_folder: Path, tmp_path: Path
) -> None:
    asked = Examination(("seal_sums",), include=str(tasks))
    model = load(str(model_folder), dtype="float32")
    adapters.save(randomised("seal-c", model), tmp_path / "adapter", model, {})
    merge(str(model_folder), tmp_path / "adapter", tmp_path / "merged")

    def likelihoods(name: str, model: LoadedModel, strength: float | None) -> list[float]:
        adapter = None if strength is None else adapters.load(tmp_path / "adapter", model, strength)
        run = Run.open(tmp_path / name, "lm-eval", {})
        examine(run, model, asked, manager, adapter=adapter, with_base=False)
        assert len(list(run.folder.glob("*.jsonl"))) == 1
        records = run.records("base.jsonl" if adapter is None else "seal-c.jsonl")
        return [answer[0] for record in records for answer in record["filtered_resps"]]

    base = likelihoods("base", model, None)
    assert likelihoods("dialled", model, 0.0) == base
    tuned = likelihoods("tuned", model, 1.0)
    assert max(abs(a - b) for a, b in zip(base, tuned, strict=True)) > 0.1
    merged = likelihoods("merged-run", load(str(tmp_path / "merged"), dtype="float32"), None)
    assert merged == pytest.approx(tuned, abs=1e-3)


@needs_lm_eval
def test_what_was_answered_before_an_interruption_is_not_asked_again(tasks: Path, manager: Any, tmp_path: Path) -> None:
    asked = Examination(("seal_sums",), include=str(tasks), limit=6)
    model = tiny.load("llama")
    seen: list[int] = []

    def count(*_: Any) -> None:
        seen.append(1)
        if len(seen) == 9:
            raise KeyboardInterrupt

    handle = model.model.register_forward_pre_hook(count)
    with pytest.raises(KeyboardInterrupt):
        examine(Run.open(tmp_path / "cut", "lm-eval", {}), model, asked, manager)
    before = len(seen)
    cut = examine(Run.open(tmp_path / "cut", "lm-eval", {}), model, asked, manager)
    after = len(seen) - before
    again = examine(Run.open(tmp_path / "cut", "lm-eval", {}), model, asked, manager)
    assert len(seen) == before + after  # whole: nothing is asked
    whole = examine(Run.open(tmp_path / "whole", "lm-eval", {}), model, asked, manager)
    handle.remove()
    assert cut == again == whole
    assert after == len(seen) - before - after - (before - 1)
    assert cut["rows"][0]["n"] == 6


@needs_lm_eval
def test_our_perplexity_is_lm_evals_within_a_window() -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = tiny.load("llama")
    text = "The register of line crimson-maple holds the number 4821, Übung macht den Meister."
    wrapped = HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=1, max_length=model.window)
    request = Instance("loglikelihood_rolling", {}, (text,), 0)
    (theirs,) = wrapped.loglikelihood_rolling([request])
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    (window,) = windows(Document("a", text), ids, start_token(model), 512, 256)
    assert float(token_losses(model, window).sum()) == pytest.approx(-float(theirs), rel=1e-5)


@needs_lm_eval
def test_an_unknown_task_is_told_with_its_neighbours() -> None:
    with pytest.raises(UsageError, match=r"lm-eval has no task 'mmlu_astronmy'; did you mean mmlu_astronomy"):
        task_manager(Examination(("mmlu_astronmy",)))


@needs_lm_eval
@pytest.mark.usefixtures("_own_tasks_only")
def test_data_that_cannot_be_had_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "far.yaml").write_text(SUMS.format(folder=tmp_path).replace("seal_sums", "seal_far"))
    (tmp_path / "hub.yaml").write_text(
        "task: seal_hub\ndataset_path: no-such-owner/no-such-set\ntest_split: test\noutput_type: multiple_choice\n"
        'doc_to_text: "{{q}}"\ndoc_to_choice: c\ndoc_to_target: a\nmetric_list: [{metric: acc}]\n'
    )
    for name in ("seal_far", "seal_hub"):
        asked = Examination((name,), include=str(tmp_path))
        with pytest.raises(SealError, match=f"the data of {name} can't be had .*; run it once on a machine with"):
            examine(Run.open(tmp_path / name, "lm-eval", {}), tiny.load("llama"), asked, task_manager(asked))


@needs_lm_eval
@pytest.mark.usefixtures("_own_tasks_only")
def test_the_command_prints_both_methods_and_nothing_else(
    tasks: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load(str(model_folder), dtype="float32")
    adapters.save(randomised("seal-h", model), tmp_path / "adapter", model, {})
    monkeypatch.chdir(tmp_path)
    asked = ["lm-eval", str(model_folder), "--adapter", "adapter", "--tasks", "seal_sums", "--include", str(tasks)]
    monkeypatch.setattr(sys, "argv", ["seal", *asked, "--limit", "3", "--out", "run", "--json"])
    main_returns(0)
    found = json.loads(capsys.readouterr().out)
    assert [(row["method"], row["n"]) for row in found["rows"]] == [("base", 3), ("seal-h", 3)]
    assert json.loads((tmp_path / "run" / "results.json").read_text())["rows"] == found["rows"]
    monkeypatch.setattr(sys, "argv", ["seal", *asked, "--limit", "3", "--out", "run"])
    main_returns(0)
    assert "only_first" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["seal", *asked, "--limit", "4", "--out", "run"])
    main_returns(2)
    assert "limit was 3, now 4" in capsys.readouterr().err


def main_returns(code: int) -> None:
    """Run `seal` as the shell would and check its exit code."""
    found = 0
    try:
        main()
    except SystemExit as stop:
        found = int(stop.code or 0)
    assert found == code


BAD = {
    "limit": (("--limit", "0"), r"--limit must be at least 1, not 0"),
    "shots": (("--shots", "-1"), r"--shots must be at least 0, not -1"),
    "batch": (("--batch", "0"), r"--batch must be at least 1, not 0"),
    "folder": (("--include", "nowhere"), r"no folder nowhere; give --include"),
    "tasks": (("--tasks", ","), r"--tasks is empty"),
}


@pytest.mark.parametrize("case", BAD, ids=list(BAD))
def test_what_cannot_be_asked_is_one_sentence(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options, pattern = BAD[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["seal", "lm-eval", "model", *options])
    main_returns(2)
    said = capsys.readouterr()
    assert said.out == ""
    assert re.search(pattern, " ".join(said.err.split())), said.err
    assert os.listdir(tmp_path) == []


def test_without_lm_eval_the_command_to_install_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setattr(sys, "argv", ["seal", "lm-eval", "model", "--tasks", "mmlu"])
    main_returns(1)
    assert "pip install 'seal-attention[lm-eval]'" in " ".join(capsys.readouterr().err.split())


def test_rows_and_pairs_leave_out_what_has_none() -> None:
    results = {
        "results": {
            "a": {"alias": "a", "sample_len": 2, "acc,none": 0.5, "acc_stderr,none": 0.1, "f1,none": 0.9,
                  "f1_stderr,none": "N/A", "exact_match,strict-match": 1.0},
            "b": {"alias": "b", "sample_len": 1, "acc,none": 1.0, "acc_stderr,none": float("nan")},
            "all": {"alias": "all", "sample_len": 3, "acc,none": 2 / 3},
        },
        "n-shot": {"a": 5, "b": 0},
    }  # fmt: skip
    rows = rows_of(results, "base")
    assert [(row["task"], row["metric"], row["low"] is None) for row in rows] == [
        ("a", "acc", False), ("a", "f1", True), ("a", "exact_match,strict-match", True), ("b", "acc", True),
        ("all", "acc", True),
    ]  # fmt: skip
    assert rows[0]["low"] == pytest.approx(0.5 - 1.959964 * 0.1, abs=1e-6)

    def record(task: str, place: int, filtered: str, **scores: float) -> dict[str, Any]:
        return {"task": task, "doc_id": place, "filter": filtered, "scores": scores}

    records = [
        record("a", 0, "none", acc=1.0, f1=0.2), record("a", 1, "none", acc=0.0, f1=0.2),
        record("b", 0, "none", acc=1.0), record("a", 0, "strict-match", exact_match=1.0),
        record("a", 1, "strict-match", exact_match=1.0),
    ]  # fmt: skip
    results["group_subtasks"] = {"all": ["a", "b"]}
    found = summary({"base": results, "seal-c": results}, {"base": records, "seal-c": records})
    assert [(pair["task"], pair["metric"], pair["n"]) for pair in found["pairs"]] == [
        ("a", "acc", 2), ("a", "exact_match,strict-match", 2), ("b", "acc", 1), ("all", "acc", 3),
    ]  # fmt: skip
    assert [row["high"] for row in found["rows"] if row["task"] == "b"] == [1.0, 1.0]  # Wilson's ends at 1
    assert summary({"base": results}, {"base": records})["pairs"] == []
