# SPDX-License-Identifier: Apache-2.0
"""An example -> the model's greedy answers, its prefix passing through the model once.

The reference answer serves as a free draft: one forward verifies it, and at the first token the model would not have
written plain greedy decoding takes over. The tokens are those of plain greedy decoding of each full prompt.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from .models import LoadedModel
from .prompts import EncodedQuestion, Example
from .shared_prefix import PrefixCache, answer_logits, forgets, pad_rows, rows_that_fit


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


@torch.no_grad()
def answer_questions(
    model: LoadedModel, example: Example, stops: Collection[int], *, draft: bool = True
) -> list[Answer]:
    """Greedy answers to every question of the example, at most `sample.max_new_tokens` tokens each."""
    whole = None if forgets(model) else PrefixCache.prefill(model, example.prefix_ids)
    places = [example.stands_after(question) for question in example.questions]
    answers: dict[int, Answer] = {}
    for place in sorted(set(places)):
        prefix = PrefixCache.prefill(model, example.prefix_ids[:place]) if whole is None else whole.cut(place)
        asked = [number for number, own in enumerate(places) if own == place]
        questions = [replace(example.questions[number], after=None) for number in asked]
        found = _answers_after(model, prefix, questions, example.sample.max_new_tokens, stops, draft)
        answers.update(zip(asked, found, strict=True))
    return [answers[number] for number in range(len(places))]


def _answers_after(
    model: LoadedModel,
    prefix: PrefixCache,
    asked: Sequence[EncodedQuestion],
    limit: int,
    stops: Collection[int],
    draft: bool,
) -> list[Answer]:
    """Greedy answers to questions that stand after the whole prefix."""
    answers: list[Answer] = []
    batch = rows_that_fit(model, prefix, limit)
    for start in range(0, len(asked), batch):
        questions = asked[start : start + batch]
        begun = _verified(model, questions, prefix) if draft else [[] for _ in questions]
        written = [_cut(ids, stops, limit) for ids in begun]
        open_rows = [row for row, ids in enumerate(written) if not _ended(ids, stops, limit)]
        lengths = [len(questions[row].suffix_ids) + len(written[row]) for row in open_rows]
        for group in _decodable_together(model, prefix, lengths):
            rows = [open_rows[place] for place in group]
            contexts = [[*questions[row].suffix_ids, *written[row]] for row in rows]
            rooms = [limit - len(written[row]) for row in rows]
            for row, more in zip(rows, _plain_greedy(model, contexts, rooms, prefix, stops), strict=True):
                written[row] = [*written[row], *more]
        answers += [Answer(tuple(ids), ids[-1] in stops) for ids in written]
    return answers


def _ended(ids: Sequence[int], stops: Collection[int], limit: int) -> bool:
    return len(ids) >= limit or (bool(ids) and ids[-1] in stops)


def _cut(ids: list[int], stops: Collection[int], limit: int) -> list[int]:
    """The ids up to the first that ends the answer, at most `limit`."""
    end = next((place + 1 for place, token in enumerate(ids) if token in stops), len(ids))
    return ids[: min(end, limit)]


def _verified(model: LoadedModel, questions: Sequence[EncodedQuestion], prefix: PrefixCache) -> list[list[int]]:
    """What greedy decoding writes while it agrees with the reference answer, and the first token after that."""
    logits = answer_logits(model, questions, prefix)
    begun = []
    for rows, question in zip(logits, questions, strict=True):
        guesses = rows.argmax(-1).tolist()
        pairs = enumerate(zip(guesses, question.answer_ids, strict=True))
        agreed = next((place for place, (guess, answer) in pairs if guess != answer), len(guesses))
        begun.append(guesses[: agreed + 1])
    return begun


def _decodable_together(model: LoadedModel, prefix: PrefixCache, lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of rows that one batch can decode.

    All of them where slot = position holds whatever the row's length; only rows of equal length where some layer
    forgets (a sliding window counts back from the newest slot of the batch, not from the row's own).
    """
    if not (prefix.forgets or model.counts_back):
        if lengths:
            yield list(range(len(lengths)))
        return
    for length in sorted(set(lengths)):
        yield [place for place, own in enumerate(lengths) if own == length]


def _plain_greedy(
    model: LoadedModel, contexts: list[list[int]], rooms: list[int], prefix: PrefixCache, stops: Collection[int]
) -> list[list[int]]:
    """Greedy continuation of each row's context (what follows the prefix), one token a step until each has ended.

    Row `r` keeps its newest token in slot prefix + its own length, so slots are positions and rows may differ in
    length: what stands behind a row's newest slot is masked until it is overwritten.
    """
    lengths = torch.tensor([prefix.length + len(context) for context in contexts], device=model.device)
    ragged = len(set(lengths.tolist())) > 1
    takes_positions = "position_ids" in inspect.signature(model.model.forward).parameters
    room = int(lengths.max()) + max(rooms)
    cache = prefix.rows(len(contexts)) if prefix.forgets else RowCache(prefix, len(contexts), room)
    shortest = min(len(context) for context in contexts)
    kept = torch.arange(shortest - 1, max(len(context) for context in contexts), device=model.device)
    output = model.model(
        input_ids=pad_rows(contexts, model.device), past_key_values=cache, use_cache=True, logits_to_keep=kept
    )
    last = lengths - prefix.length - shortest
    tokens = output.logits[torch.arange(len(contexts), device=model.device), last].argmax(-1)
    written: list[list[int]] = [[] for _ in contexts]
    rows = list(range(len(contexts)))  # which row each line of the batch is
    while True:
        for line, token in enumerate(tokens.tolist()):
            if not _ended(written[rows[line]], stops, rooms[rows[line]]):
                written[rows[line]].append(token)
        alive = [line for line, row in enumerate(rows) if not _ended(written[row], stops, rooms[row])]
        if not alive:
            return written
        if 2 * len(alive) <= len(rows):  # the finished half no longer pays its way
            keep = torch.tensor(alive, device=model.device)
            cache.batch_select_indices(keep)
            tokens, lengths, rows = tokens[keep], lengths[keep], [rows[line] for line in alive]
        extra = {}
        if ragged:
            assert isinstance(cache, RowCache)
            cache.slots = lengths
            seen = torch.arange(cache.get_seq_length() + 1, device=model.device)
            extra["attention_mask"] = (seen[None] <= lengths[:, None]).long()
            if takes_positions:
                extra["position_ids"] = lengths[:, None]
        output = model.model(
            input_ids=tokens[:, None], past_key_values=cache, use_cache=True, logits_to_keep=1, **extra
        )
        tokens = output.logits[:, -1].argmax(-1)
        lengths = lengths + 1


class RowLayer(DynamicLayer):
    """A layer's keys and values in room made once, so that a step writes one slot a row instead of copying them all."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, rows: int, room: int) -> None:
        super().__init__()
        _, heads, self.used, _ = keys.shape
        self.dtype, self.device = keys.dtype, keys.device
        self.key_room = keys.new_zeros(rows, heads, room, keys.shape[-1])  # zeros: a masked slot must not hold a NaN
        self.value_room = values.new_zeros(rows, heads, room, values.shape[-1])
        self.key_room[:, :, : self.used] = keys
        self.value_room[:, :, : self.used] = values
        self.slots: torch.Tensor | None = None
        self.is_initialized = True
        self._view()

    def _view(self) -> None:
        self.keys, self.values = self.key_room[:, :, : self.used], self.value_room[:, :, : self.used]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append; with `slots` (rows,) set, each row's one new token goes to its own slot."""
        new = key_states.shape[-2]
        if self.slots is None:
            self.key_room[:, :, self.used : self.used + new] = key_states
            self.value_room[:, :, self.used : self.used + new] = value_states
        else:
            rows = torch.arange(len(self.slots), device=self.slots.device)
            self.key_room[rows, :, self.slots] = key_states[:, :, 0]
            self.value_room[rows, :, self.slots] = value_states[:, :, 0]
        self.used += new
        self._view()
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows."""
        self.key_room, self.value_room = self.key_room[indices], self.value_room[indices]
        self._view()


class RowCache(DynamicCache):
    """A decoding cache over a prefix with room for `room` positions a row."""

    def __init__(self, prefix: PrefixCache, rows: int, room: int) -> None:
        super().__init__()
        self.layers = [
            layer if layer.keys is None else RowLayer(layer.keys, layer.values, rows, room)
            for layer in prefix.rows(1).layers
        ]

    @property
    def slots(self) -> torch.Tensor | None:
        """Where each row's next token goes; None appends behind the longest."""
        return self.layers[0].slots

    @slots.setter
    def slots(self, slots: torch.Tensor) -> None:
        for layer in self.layers:
            layer.slots = slots
