# SPDX-License-Identifier: Apache-2.0
"""Single attention rows equal those of whole maps, and what heads copy equals a slow reading of whole maps."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import tiny
from adapting import randomised
from seal_attention.adapters import Scales
from seal_attention.errors import UsageError
from seal_attention.extension import extended
from seal_attention.models import LoadedModel
from seal_attention.probing import needle_attention, retrieval_heads
from seal_attention.probing.attention_rows import attention_rows, eager
from seal_attention.probing.retrieval_heads import copied
from seal_attention.probing.shapes import HeadShape
from seal_attention.probing.spans import Spans, spans
from seal_attention.prompts import Encoder, Example
from seal_attention.runs import Run
from seal_attention.shared_prefix import PrefixCache
from seal_attention.tasks.lines import Lines

SOME = ["llama", "mistral", "gemma3_text", "gpt_oss", "mixtral", "bloom", "deepseek_v3", "gemma4_text"]
LETTERS = (40, 60, 61, 90, 200)  # the only tokens that `writing` models write


@pytest.fixture
def _no_rounding() -> Iterator[None]:
    with tiny.Float64():
        yield


@torch.no_grad()
def whole_maps(model: LoadedModel, ids: tuple[int, ...]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Logits and last rows of eager attention over all positions at once."""
    with eager(model):
        output = model.model(input_ids=torch.tensor([ids]), output_attentions=True)
    return output.logits[0, -1], [layer[0, :, -1] for layer in output.attentions]


@pytest.mark.usefixtures("_no_rounding")
@pytest.mark.parametrize("name", SOME)
def test_single_rows_equal_the_last_rows_of_whole_maps(name: str, example: Example) -> None:
    model = tiny.shared(name)
    usual = model.model.config._attn_implementation
    ids = example.prompt_ids(example.questions[0])
    with torch.no_grad():
        cache = PrefixCache.prefill(model, ids[:-1]).rows(1)
    with eager(model):
        logits, rows = attention_rows(model, ids[-1], cache)
    expected_logits, expected = whole_maps(model, ids)
    torch.testing.assert_close(logits, expected_logits, rtol=0, atol=1e-9)
    assert [row.shape for row in rows] == [(4, len(ids))] * len(expected)
    for row, other in zip(rows, expected, strict=True):
        torch.testing.assert_close(row, other, rtol=0, atol=1e-9)
    assert model.model.config._attn_implementation == usual


def test_a_family_that_can_not_change_its_attention_is_refused() -> None:
    model = extended(tiny.load("llama"), "self-extend:group=4,window=16")
    with pytest.raises(UsageError, match="can't be read under --extend self-extend:group=4,window=16"), eager(model):
        pass
    with pytest.raises(UsageError, match="add --attention eager"), eager(tiny.shared("falcon-grouped")):
        pass


def writing(name: str) -> LoadedModel:
    """A model that writes LETTERS alone, so that it often writes what stands in a prompt of them."""
    model = tiny.load(name, torch.float64)
    head = model.model.get_output_embeddings()
    others = torch.ones(tiny.VOCABULARY, dtype=torch.bool)
    others[list(LETTERS)] = False
    head.weight[others] = 0.0
    head.weight[list(LETTERS)] *= 10
    return model


@pytest.mark.parametrize("name", ["llama", "mistral", "mixtral"])
def test_what_heads_copy_equals_a_slow_reading_of_whole_maps(name: str) -> None:
    model = writing(name)
    generator = torch.Generator().manual_seed(1)
    prompt = tuple(LETTERS[int(place)] for place in torch.randint(0, 5, (30,), generator=generator))
    span = range(8, 30)
    with torch.no_grad():
        cache = PrefixCache.prefill(model, prompt[:-1]).rows(1)
    with eager(model):
        found = copied(model, prompt, cache, span, lambda _: False, 8)
    ids, hits = prompt, Counter[tuple[int, int]]()
    for _ in range(8):
        logits, rows = whole_maps(model, ids)
        token = int(logits.argmax())
        for layer, row in enumerate(rows):
            for head in range(4):
                place = int(row[head].argmax())
                hits[layer, head] += span.start <= place < span.stop and prompt[place] == token
        ids = (*ids, token)
    assert found.ids == ids[30:]
    assert set(found.ids) <= {*LETTERS, 0}
    assert found.hits == hits
    assert found.hits.total() > 3


def test_an_answer_ends_after_the_token_that_ends_it_is_scored(example: Example) -> None:
    model = writing("llama")
    prompt = example.prompt_ids(example.questions[0])
    with torch.no_grad():
        prefix = PrefixCache.prefill(model, prompt[:-1])
    with eager(model):
        whole = copied(model, prompt, prefix.rows(1), range(0), lambda _: False, 5)
        ended = copied(model, prompt, prefix.rows(1), range(0), lambda token: token == whole.ids[1], 5)
    assert len(whole.ids) == 5
    assert ended.ids == whole.ids[: whole.ids.index(whole.ids[1]) + 1]


def record(task: str, lines: int, accepted: bool, *hits: list[int]) -> dict[str, object]:
    return {"task": task, "cell": {"lines": lines}, "accepted": accepted, "answer_at": [10, 14], "hits": list(hits)}


def test_scores_are_means_over_the_answers_that_count() -> None:
    shape = HeadShape((0, 2), (2, 3))
    records = [record("lines", 20, True, [0, 1, 2], [2, 2, 4]), record("lines", 20, False, [0, 0, 4]),
               record("lines", 40, True, [2, 2, 1]), record("lines", 40, True)]  # fmt: skip
    results = retrieval_heads.summary(records, shape)
    assert (results["asked"], results["accepted"], results["heads"], results["retrieval_heads"]) == (4, 3, 5, 2)
    whole, short, long = (one["values"] for one in results["maps"])
    assert whole == [[0.0, round(0.5 / 3, 6)], [0.0, 0.0, round(1.25 / 3, 6)]]
    assert short == [[0.0, 0.5], [0.0, 0.0, 1.0]]
    assert long == [[0.0, 0.0], [0.0, 0.0, 0.125]]
    assert [one["cell"] for one in results["maps"]] == [{}, {"lines": 20}, {"lines": 40}]
    assert results["top"][0] == {"layer": 2, "head": 2, "score": round(1.25 / 3, 6)}
    nothing = retrieval_heads.summary([record("lines", 20, False)], shape)
    assert nothing["maps"][0]["values"] == [[None, None], [None, None, None]]
    assert nothing["top"] == []


def lines_example(questions: int = 2) -> Example:
    return Encoder(tiny.tokenizer()).encode(
        dataclasses.replace(Lines(3, questions).sample(0, "test", 0), max_new_tokens=6)
    )


def test_a_run_writes_wus_file_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    model, examples = tiny.load("llama", max_position_embeddings=1024), [lines_example()]
    examples.append(dataclasses.replace(examples[0], sample=dataclasses.replace(examples[0].sample, identifier="b")))
    asked: list[str] = []

    def score(text: str, question: object) -> dict[str, float]:
        asked.append(text)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return {"score": 1.0}

    run = Run.open(tmp_path, "probe", {})
    with pytest.raises(KeyboardInterrupt):
        retrieval_heads.measure(run, model, examples, {"lines": score})
    results = retrieval_heads.measure(run, model, examples, {"lines": score})
    assert len(asked) == 5
    assert asked[:2] == asked[3:]  # the second example is the first
    assert results["accepted"] == 4
    scores = json.loads((tmp_path / retrieval_heads.WU_FILE).read_text())
    assert list(scores)[:5] == ["0-0", "0-1", "0-2", "0-3", "1-0"]
    means = [[sum(scores[f"{layer}-{head}"]) / 4 for head in range(4)] for layer in range(2)]
    assert results["maps"][0]["values"] == [pytest.approx(row, abs=1e-6) for row in means]


def test_shares_of_a_row_by_hand() -> None:
    row = torch.tensor([[0.4, 0.1, 0.2, 0.1, 0.15, 0.05], [0.1, 0.0, 0.0, 0.9, 0.0, 0.0]])
    found = needle_attention.shares(row, Spans(fact=range(2, 4), answer=range(3, 4), asked=range(4, 5)))
    torch.testing.assert_close(found, torch.tensor([[0.3, 0.15, 0.4, 0.15], [0.9, 0.0, 0.1, 0.0]]).double())
    begins = needle_attention.shares(row, Spans(fact=range(2), answer=range(1, 2), asked=range(0)))
    torch.testing.assert_close(begins[0], torch.tensor([0.1, 0.0, 0.4, 0.5]).double())


def test_attention_to_the_needle_equals_whole_maps_before_and_after(tmp_path: Path) -> None:
    model, example = tiny.load("mistral", torch.float64, max_position_embeddings=1024), lines_example()
    adapter: Scales = randomised("seal-h", model)
    heads = [(1, 3), (0, 2)]
    run = Run.open(tmp_path, "probe", {})
    results = needle_attention.measure(run, model, [example], heads=heads, adapter=adapter)
    encoder = Encoder(model.tokenizer)
    for own, held in zip(example.questions, run.records(needle_attention.RECORDS), strict=True):
        place = spans(encoder, example.sample, example.sample.questions[example.questions.index(own)])
        _, base = whole_maps(model, example.prompt_ids(own))
        with adapter.attached(model):
            _, tuned = whole_maps(model, example.prompt_ids(own))
        for phase, rows in (("base", base), ("seal-h", tuned)):
            for layer, head in heads:
                expected = needle_attention.shares(rows[layer], place)[head].tolist()
                assert held["shares"][phase][f"{layer}:{head}"] == pytest.approx(expected, abs=2e-6)
    assert results["phases"] == ["base", "seal-h"]
    assert results["maps"][0]["values"][0][:2] == [None, None]
    assert {one["labels"][0] for one in results["bars"]} <= {"1:3", "0:2"}
    sums = [sum(column) for column in zip(*(one["values"] for one in results["bars"][0]["series"]), strict=True)]
    assert sums == pytest.approx([1.0, 1.0], abs=1e-5)
    with pytest.raises(UsageError, match="has no head 2:0; its layers go from 0 to 1"):
        needle_attention.measure(run, model, [example], heads=[(2, 0)])
