# SPDX-License-Identifier: Apache-2.0
"""Examples -> the model's greedy answers, each shared prefix passing through the model once.

The reference answer serves as a free draft: one forward verifies it, and at the first token the model would not have
written plain greedy decoding takes over (decoding.py), for the open questions of many contexts at a time. The tokens
are those of plain greedy decoding of each full prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from .decoding import continue_greedily, ended
from .models import LoadedModel
from .packing import answer_logits_and_tails
from .prompts import EncodedQuestion, Example, common_prefix
from .row_lines import Row
from .shared_prefix import PrefixCache, Told, chunk_for, forgets, free_memory, rows_that_fit

TOGETHER = 13  # questions verified in one row: each one's scores against the others' tokens are computed in vain
WAVE, CONTEXTS = 1024, 32  # questions and contexts of a wave at most: what it has not finished an interruption loses
READ = 24576  # tokens of a context that fills a wave, or of four half as long: reading costs a length's square


@dataclass(frozen=True)
class Answer:
    """New token ids, the ending one included; `stopped` is False where the limit of new tokens cut them off."""

    ids: tuple[int, ...]
    stopped: bool


def stop_ids(model: LoadedModel, end_of_turn: int | None) -> frozenset[int]:
    """Ids that end an answer: the end of the turn and whatever the generation configuration calls EOS."""
    configured = model.model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in (*listed, end_of_turn) if token is not None)


def answer_questions(
    model: LoadedModel, example: Example, stops: Collection[int], *, draft: bool = True
) -> list[Answer]:
    """Greedy answers to every question of the example, at most `sample.max_new_tokens` tokens each."""
    ((_, answers),) = answer_examples(model, [example], stops, draft=draft)
    return answers


@torch.no_grad()
def answer_examples(
    model: LoadedModel,
    examples: Iterable[Example],
    stops: Collection[int],
    *,
    draft: bool = True,
    on_piece: Told = lambda start, stop: None,
    on_read: Callable[[Example], None] = lambda example: None,
    on_step: Callable[[int], None] = lambda left: None,
) -> Iterator[tuple[Example, list[Answer]]]:
    """Each example with its answers, in order.

    `on_piece` is told from where to where a prefix has been read, piece by piece, `on_read` when the whole of it and
    its drafts have been, `on_step` how many answers are still being written.

    The examples go in waves: prefixes are read one at a time, each from where it leaves the one before; then all
    questions whose draft failed are decoded together. A wave holds CONTEXTS examples, or as many as have WAVE questions
    and whose keys and values fit into memory, fewer where contexts are so long that much reading would be lost.
    """
    wave: list[tuple[Example, list[_Begun]]] = []
    read: _Read | None = None
    room = free_memory(model.device) // 6  # decoding holds a second copy
    for example in examples:
        read = None if forgets(model) else _read(model, example.prefix_ids, read, on_piece)
        wave.append((example, _begun(model, example, stops, draft, read)))
        on_read(example)
        rows = [begun.row for _, several in wave for begun in several if begun.row]
        held = sum({id(row.prefix): row.prefix.bytes for row in rows}.values()) + sum(row.held_bytes for row in rows)
        full = len(wave) >= CONTEXTS or sum(len(begun) for _, begun in wave) >= WAVE
        if full or held > room or sum(len(one.prefix_ids) ** 2 for one, _ in wave) >= READ**2:
            yield from _finished(model, wave, stops, on_step)
            wave = []
    yield from _finished(model, wave, stops, on_step)


@dataclass
class _Begun:
    """An answer under way: what was written so far and, where that is not all, the row to continue."""

    written: list[int]
    row: Row | None


@dataclass(frozen=True)
class _Read:
    """Prefix ids and what the model keeps of them."""

    ids: tuple[int, ...]
    cache: PrefixCache


def shared_with(ids: Sequence[int], before: Sequence[int]) -> int:
    """How many leading ids of a prefix need no reading after the prefix `before`: cases of one filler text begin alike.

    None of them where they are less than an eighth, since a prefix that is read as a whole needs no mask.
    """
    alike = common_prefix([(*ids, -1), (*before, -2)])
    return alike if 8 * alike >= len(ids) else 0


def _read(model: LoadedModel, ids: tuple[int, ...], before: _Read | None, on_piece: Told) -> _Read:
    """The prefix read, but for what it shares with the one before."""
    shared = shared_with(ids, before.ids) if before else 0
    if before is None or not shared:
        return _Read(ids, PrefixCache.prefill(model, ids, chunk=chunk_for(model), on_piece=on_piece))
    return _Read(ids, before.cache.cut(shared).extended(model, ids[shared:], on_piece=on_piece))


def _begun(
    model: LoadedModel, example: Example, stops: Collection[int], draft: bool, read: _Read | None
) -> list[_Begun]:
    """Verify the drafts behind the prefix; questions keep their order. A model that forgets has nothing read before."""
    limit = example.sample.max_new_tokens
    places = [example.stands_after(question) for question in example.questions]
    begun: dict[int, _Begun] = {}
    for place in sorted(set(places)):
        asked = [number for number, own in enumerate(places) if own == place]
        suffixes = [example.questions[number].suffix_ids for number in asked]
        # Questions of an example that was joined to a longer one begin alike: that is read once as well.
        alike = suffixes[0][: common_prefix(suffixes)] if len(asked) > 1 else ()
        if read is None:
            prefix = PrefixCache.prefill(model, (*example.prefix_ids[:place], *alike), chunk=chunk_for(model))
        else:
            prefix = read.cache.cut(place).extended(model, alike)
        questions = [
            replace(example.questions[number], suffix_ids=suffix[len(alike) :], after=None)
            for number, suffix in zip(asked, suffixes, strict=True)
        ]
        batch = min(TOGETHER, rows_that_fit(model, prefix, limit))
        for start in range(0, len(asked), batch):
            some = questions[start : start + batch]
            drafts = _verified(model, some, prefix) if draft else [([], ()) for _ in some]
            for number, question, (ids, tail) in zip(asked[start : start + batch], some, drafts, strict=True):
                written = _cut(ids, stops, limit)
                going_on = None if ended(written, stops, limit) else _row(prefix, question, written, limit, tail)
                begun[number] = _Begun(written, going_on)
    return [begun[number] for number in range(len(places))]


def _row(
    prefix: PrefixCache, question: EncodedQuestion, written: list[int], limit: int, tail: Sequence[torch.Tensor]
) -> Row:
    """The answer's continuation; of the tail what was written is kept, all but its last token."""
    ids, room = (*question.suffix_ids, *written), limit - len(written)
    if not tail:
        return Row(prefix, ids, room)
    return Row(prefix, ids[-1:], room, tuple(tensor[:, :, : len(ids) - 1].clone() for tensor in tail))


def _finished(
    model: LoadedModel,
    wave: Sequence[tuple[Example, list[_Begun]]],
    stops: Collection[int],
    on_step: Callable[[int], None],
) -> Iterator[tuple[Example, list[Answer]]]:
    """Decode what is open of a wave."""
    pairs = [(begun, begun.row) for _, several in wave for begun in several if begun.row]
    rows = [row for _, row in pairs]
    for (begun, _), more in zip(pairs, continue_greedily(model, rows, stops, on_step), strict=True):
        begun.written += more
    for example, several in wave:
        yield example, [Answer(tuple(begun.written), begun.written[-1] in stops) for begun in several]


def _cut(ids: list[int], stops: Collection[int], limit: int) -> list[int]:
    """The ids up to the first that ends the answer, at most `limit`."""
    end = next((place + 1 for place, token in enumerate(ids) if token in stops), len(ids))
    return ids[: min(end, limit)]


def _verified(
    model: LoadedModel, questions: Sequence[EncodedQuestion], prefix: PrefixCache
) -> list[tuple[list[int], tuple[torch.Tensor, ...]]]:
    """What greedy decoding writes while it agrees with the reference answer, and the first token after that.

    With each question's tail: the keys and values of its tokens and the reference's, where the model packs them.
    """
    logits, tails = answer_logits_and_tails(model, questions, prefix)
    begun = []
    for rows, tail, question in zip(logits, tails, questions, strict=True):
        guesses = rows.argmax(-1).tolist()
        pairs = enumerate(zip(guesses, question.answer_ids, strict=True))
        agreed = next((place for place, (guess, answer) in pairs if guess != answer), len(guesses))
        begun.append((guesses[: agreed + 1], tail))
    return begun
