# SPDX-License-Identifier: Apache-2.0
"""Questions behind a shared prefix -> the logits of their answers, from one forward for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import Cache, DynamicCache

from .models import LoadedModel
from .prompts import EncodedQuestion
from .shared_prefix import PrefixCache


def answer_logits(model: LoadedModel, questions: Sequence[EncodedQuestion], prefix: PrefixCache) -> list[torch.Tensor]:
    """Logits that predict each answer token, a list of (answer length, vocabulary): one forward for all the questions.

    Vocabulary logits exist for answer positions alone. Where masks and positions can be given freely the questions
    stand one behind the other in a single row, so that the prefix's keys and values are read once and copied never;
    elsewhere each is a row of a batch, and all must stand after the whole prefix.
    """
    assert prefix.variants == 1
    return [logits[0] for logits in answer_logits_of_variants(model, questions, prefix)]


def answer_logits_of_variants(
    model: LoadedModel, questions: Sequence[EncodedQuestion], prefix: PrefixCache
) -> list[torch.Tensor]:
    """`answer_logits` over each variant of the prefix: a list of (variants, answer length, vocabulary)."""
    if packs(model, prefix.forgets):
        return _in_one_row(model, questions, prefix, prefix.rows(1))
    assert all(question.after is None for question in questions)
    return _in_rows(model, questions, prefix)


def answer_logits_and_tails(
    model: LoadedModel, questions: Sequence[EncodedQuestion], prefix: PrefixCache
) -> tuple[list[torch.Tensor], list[tuple[torch.Tensor, ...]]]:
    """`answer_logits`, and of each question the keys and values of its own tokens, in the order of `tensors`.

    The tails are views of one cache of all; () where the questions are rows of a batch.
    """
    assert prefix.variants == 1
    if not packs(model, prefix.forgets):
        return answer_logits(model, questions, prefix), [() for _ in questions]
    cache = prefix.rows(1)
    logits = _in_one_row(model, questions, prefix, cache)
    assert isinstance(cache, DynamicCache)
    lengths = [len(_asked(question)) for question in questions]
    held = PrefixCache(cache, prefix.positions).tensors()
    tails = zip(*(tensor[:, :, prefix.length :].split(lengths, dim=2) for tensor in held), strict=True)
    return [own[0] for own in logits], list(tails)


def _asked(question: EncodedQuestion) -> list[int]:
    """What is read of a question: all but the answer's last token."""
    return [*question.suffix_ids, *question.answer_ids[:-1]]


def packs(model: LoadedModel, forgets: bool) -> bool:
    """Whether questions can stand in a single row, each after its own place of the prefix."""
    return model.takes_any_mask and not forgets


def _in_one_row(
    model: LoadedModel, questions: Sequence[EncodedQuestion], prefix: PrefixCache, cache: Cache
) -> list[torch.Tensor]:
    """Each question sees the prefix up to its place, then itself: causal blocks on the diagonal, own positions.

    `cache` holds the prefix, and then the questions, one behind the other.
    """
    rows = prefix.variants
    asked = [_asked(question) for question in questions]
    answers = [len(question.answer_ids) for question in questions]
    places = [prefix.length if question.after is None else question.after for question in questions]
    lengths = torch.tensor([len(ids) for ids in asked], device=model.device)
    owner = torch.repeat_interleave(torch.arange(len(asked), device=model.device), lengths)
    place = torch.arange(len(owner), device=model.device)
    own = (owner[:, None] == owner[None, :]) & (place[:, None] >= place[None, :])
    seen_of_prefix = torch.tensor(places, device=model.device)[owner]
    seen = torch.cat((torch.arange(prefix.length, device=model.device) < seen_of_prefix[:, None], own), 1)
    ours = model.device.type == "cpu" and (model.reads_blockwise or model.reads_far)
    mask = seen if ours else _added(seen, prefix.tensors()[0].dtype)
    # What the mask says already; attention that hears of it reads no question's keys for another.
    alike = model.reads_blockwise and set(places) == {prefix.length}
    given = {"packed_lengths": lengths.tolist()} if alike else {}
    starts = torch.tensor([prefix.position_after(place) for place in places], device=model.device)
    ends = lengths.cumsum(0)
    kept = torch.cat([torch.arange(end - n, end) for end, n in zip(ends.tolist(), answers, strict=True)])
    output = model.run(
        torch.tensor([[token for ids in asked for token in ids]], device=model.device).expand(rows, -1),
        cache,
        prefix.slot_positions(model.device),
        position_ids=(place + (starts - ends + lengths)[owner]).expand(rows, -1),
        attention_mask=mask.expand(rows, 1, -1, -1),
        logits_to_keep=kept.to(model.device),
        **given,
    )
    return list(output.logits.split(answers, dim=1))


def _added(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The mask as every attention takes it, added to its scores."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


def _in_rows(model: LoadedModel, questions: Sequence[EncodedQuestion], prefix: PrefixCache) -> list[torch.Tensor]:
    """A row a question, padded on the right, with the library's own masks and positions."""
    asked = [_asked(question) for question in questions]
    answers = [len(question.answer_ids) for question in questions]
    first = min(len(ids) - n for ids, n in zip(asked, answers, strict=True))
    longest = max(map(len, asked))
    rows = len(asked) * prefix.variants
    given = {}
    start = prefix.position_after(prefix.length)
    if start != prefix.length:
        given["position_ids"] = torch.arange(start, start + longest, device=model.device).expand(rows, -1)
    output = model.run(
        pad_rows(asked, model.device).repeat(prefix.variants, 1),
        prefix.rows(len(asked)),
        logits_to_keep=torch.arange(first, longest, device=model.device),
        **given,
    )
    by_question = output.logits.unflatten(0, (prefix.variants, len(asked))).unbind(1)
    triples = zip(by_question, asked, answers, strict=True)
    return [logits[:, len(ids) - n - first : len(ids) - first] for logits, ids, n in triples]


def pad_rows(rows: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    """Id sequences -> (rows, longest), padded on the right with 0: what follows a token never changes it."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
