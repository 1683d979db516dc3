# SPDX-License-Identifier: Apache-2.0
"""A RULER cell -> seconds to evaluate it, here and by lm-eval's `hf` backend, on the same prompts and the same model.

Each context of niah_multikey_2 is asked eight questions; lm-eval gets each as a document with its whole prompt.
It is timed with one document and with eight at a time, and the faster counts.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairing import Asked, Comparison, Figures, Side, spread
from seal_attention.errors import SealError, UsageError

MODULE = "evaluation_lm_eval"
TASK = "niah_multikey_2"


def comparisons(asked: Asked) -> list[Comparison]:
    """One comparison. UsageError where lm-eval or the adapter is missing."""
    if importlib.util.find_spec("lm_eval") is None:
        raise UsageError("lm-eval is not installed; type `.venv/bin/python -m pip install 'seal-attention[lm-eval]'`")
    size = (
        {"length": 320, "questions": 2, "contexts": 1}
        if asked.quick
        else {"length": 4096, "questions": 8, "contexts": 2}
    )
    settings = {**size, **asked.adapter_settings()}
    long = size["length"] / 4096 * size["questions"] * size["contexts"]
    sides = {"ours": Side("seal", settings, 15 + 4 * long)}
    for batch in (1, 8):
        sides[f"lm_eval_{batch}"] = Side("harness", {**settings, "batch": batch}, 25 + 15 * long)
    return [Comparison("evaluation_vs_lm_eval", MODULE, sides, asked.repeats)]


def seal(length: int, questions: int, contexts: int, adapter: str, adapter_digest: str) -> Figures:
    """Our evaluation, as `seal eval` runs it: text in, scored predictions on disk out."""
    import measuring
    from seal_attention import adapters
    from seal_attention.evaluation.cells import PREDICTIONS, Cell
    from seal_attention.evaluation.local import evaluate
    from seal_attention.generation import answer_questions, stop_ids
    from seal_attention.runs import Run

    loaded = measuring.load_model()
    model, encoder = loaded.model, loaded.encoder
    tuned = adapters.load(Path(adapter), model)
    task, samples = _cell(encoder, length, questions, contexts)
    answer_questions(model, measuring.warm_up(encoder), stop_ids(model, encoder.end_of_turn))
    with tempfile.TemporaryDirectory() as folder:
        run = Run.open(Path(folder) / "run", "eval", {})
        started = time.perf_counter()
        (row,) = evaluate(run, model, [Cell(samples, task.scores)], method="seal-c", adapter=tuned)
        seconds = time.perf_counter() - started
        texts = [record["text"].strip() for record in run.records(PREDICTIONS)]
    return {"seconds": seconds, "score": row["accuracy"], "texts": texts}


def harness(length: int, questions: int, contexts: int, adapter: str, adapter_digest: str, batch: int) -> Figures:
    """lm-eval's evaluation of the same cell, the model handed to it ready loaded."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    import measuring

    loaded = measuring.load_model()
    model, encoder = loaded.model, loaded.encoder
    task, samples = _cell(encoder, length, questions, contexts)
    wrapped = HFLM(
        pretrained=model.model, tokenizer=model.tokenizer, batch_size=batch, max_length=model.window, device="cpu"
    )
    for question in samples[0].questions:
        asked = wrapped.tok_encode(encoder.prompt_text(samples[0], question))
        if tuple(asked) != encoder.prompt_ids(samples[0], question):
            raise SealError("lm-eval reads other token ids from the same prompt, so the two can't be compared")
    warm = measuring.warm_up(encoder)
    index = TaskManager(include_defaults=False)  # its 14,000 tasks, which take seconds to list, are not asked for
    with tempfile.TemporaryDirectory() as folder, measuring.tuned(model, adapter):
        warming = _task(encoder, task, [warm.sample], Path(folder) / "warm-up.jsonl")
        documents = _task(encoder, task, samples, Path(folder) / "documents.jsonl")
        simple_evaluate(wrapped, tasks=[warming], task_manager=index, bootstrap_iters=0)
        started = time.perf_counter()
        results = simple_evaluate(wrapped, tasks=[documents], task_manager=index, bootstrap_iters=0)
        seconds = time.perf_counter() - started
    (logged,) = results["samples"].values()
    ordered = sorted(logged, key=lambda record: record["doc_id"])
    texts = [record["filtered_resps"][0].strip() for record in ordered]
    (scores,) = results["results"].values()
    return {"seconds": seconds, "score": scores["ruler,none"], "texts": texts}


def _task(encoder: Any, task: Any, samples: Sequence[Any], file: Path) -> Any:
    """An lm-eval task whose documents are the questions, each with its whole prompt, written to `file`."""
    from lm_eval.api.task import ConfigurableTask

    asked = [(sample, question) for sample in samples for question in sample.questions]
    documents = [
        {"place": place, "prompt": encoder.prompt_text(sample, question), "target": question.target}
        for place, (sample, question) in enumerate(asked)
    ]
    file.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")

    def scored(document: Mapping[str, Any], answers: Sequence[str]) -> dict[str, float]:
        return {"ruler": task.scores(answers[0], asked[document["place"]][1])["ruler"]}

    return ConfigurableTask(
        config={
            "task": "seal_" + TASK,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(file)}, "cache_dir": str(file.parent / "cache")},
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_text": "{{prompt}}",
            "doc_to_target": "{{target}}",
            "process_results": scored,
            "generation_kwargs": {
                "until": [encoder.tokenizer.decode([encoder.end_of_turn])],
                "max_gen_toks": samples[0].max_new_tokens,
                "do_sample": False,
            },
            "metric_list": [{"metric": "ruler", "aggregation": "mean", "higher_is_better": True}],
        }
    )


def _cell(encoder: Any, length: int, questions: int, contexts: int) -> tuple[Any, list[Any]]:
    """The task at that length, and its test samples."""
    from seal_attention.tasks import Wanted, find
    from seal_attention.tasks.sizing import draw, of_length

    task = of_length(find(TASK, Wanted(questions)), length, questions, encoder.budget)
    return task, draw(task, "test", 0, contexts * questions, encoder.budget)


def summarise(_comparison: Comparison, repeats: Sequence[Mapping[str, Figures]]) -> Figures:
    """The ratio of the seconds to the faster of lm-eval's two forms, that of each, and the differing answers."""
    forms = [name for name in repeats[0] if name != "ours"]
    each = {name: [sides[name]["seconds"] / sides["ours"]["seconds"] for sides in repeats] for name in forms}
    differing = {
        name: max(
            sum(a != b for a, b in zip(sides["ours"]["texts"], sides[name]["texts"], strict=True)) for sides in repeats
        )
        for name in forms
    }
    return {
        "ratios": {"evaluation_vs_lm_eval": spread([min(pair) for pair in zip(*each.values(), strict=True)])},
        "each": {f"{name} / ours": spread(values) for name, values in each.items()},
        "differing_answers": differing,
        "questions": len(repeats[0]["ours"]["texts"]),
    }
