# SPDX-License-Identifier: Apache-2.0
"""Samples -> examples: token ids with the shared prefix, and the answer mask by construction.

The one caller of chat templates. The answer's ids are appended to the prompt's ids, never searched for in the
text, so tuning and evaluation see the same prompt and the answer mask cannot miss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .errors import UsageError
from .samples import Question, Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANSWER_MARK = "seal-answer-goes-here"


@dataclass(frozen=True)
class EncodedQuestion:
    """`suffix_ids`: what follows the shared prefix, up to where the answer starts (never empty); `answer_ids`: the
    target and the token that ends the turn; `after`: how many of the prefix's ids stand before the suffix, None for
    all."""

    suffix_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    after: int | None = None


@dataclass(frozen=True)
class Example:
    """A sample for one tokenizer: prefix + suffix equals the ids of each templated prompt encoded in one piece.

    `cut_tokens` is how many tokens a user's turn lost from its middle, the most of any question; nearly always 0.
    """

    sample: Sample
    prefix_ids: tuple[int, ...]
    questions: tuple[EncodedQuestion, ...]
    cut_tokens: int = 0

    @property
    def longest_prompt(self) -> int:
        """Tokens of the longest of the prompts."""
        return max(self.stands_after(question) + len(question.suffix_ids) for question in self.questions)

    @property
    def tokens(self) -> int:
        """Tokens that pass through the model once: the prefix, and every question with its answer."""
        return len(self.prefix_ids) + sum(len(q.suffix_ids) + len(q.answer_ids) for q in self.questions)

    def stands_after(self, question: EncodedQuestion) -> int:
        """How many of the prefix's ids stand before the question."""
        return len(self.prefix_ids) if question.after is None else question.after

    def prompt_ids(self, question: EncodedQuestion) -> tuple[int, ...]:
        """The ids of one question's whole prompt."""
        return (*self.prefix_ids[: question.after], *question.suffix_ids)

    def parts(self) -> list[Example]:
        """One example for each place of the prefix that questions stand after, in the order of the places."""
        places = sorted({self.stands_after(question) for question in self.questions})
        groups = {place: [q for q in self.questions if self.stands_after(q) == place] for place in places}
        return [
            replace(self, prefix_ids=self.prefix_ids[:place], questions=tuple(replace(q, after=None) for q in group))
            for place, group in groups.items()
        ]


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """How many leading ids all sequences share, leaving each at least one id of its own."""
    longest = min(len(sequence) for sequence in sequences) - 1
    first = sequences[0]
    for place in range(longest):
        if any(sequence[place] != first[place] for sequence in sequences):
            return place
    return longest


def joined(examples: Sequence[Example]) -> Example:
    """Examples whose prompts begin alike -> one, with the longest prefix and the questions in their order."""
    longest = max(examples, key=lambda example: len(example.prefix_ids))
    questions = []
    for example in examples:
        alike = common_prefix([(*example.prefix_ids, -1), (*longest.prefix_ids, -2)])
        for question in example.questions:
            place = example.stands_after(question)
            shared = min(alike, place)
            suffix = (*example.prefix_ids[shared:place], *question.suffix_ids)
            after = None if shared == len(longest.prefix_ids) else shared
            questions.append(EncodedQuestion(suffix, question.answer_ids, after))
    return replace(longest, questions=tuple(questions))


class Encoder:
    """Turns samples into examples with one tokenizer, its own chat template and exactly one BOS.

    `window` is the model's, in tokens: a sample whose benchmark prescribes it (`cut_middle`) loses its middle beyond
    that. No other sample is ever cut, and none without a window.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, window: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.window = window
        self.end_of_turn = self._end_of_turn()

    def prompt_text(self, sample: Sample, question: Question) -> str:
        """The whole templated prompt of one question, up to and with the answer prefix; nothing of it cut."""
        return self._around(sample, question, sample.context + question.text)

    def _around(self, sample: Sample, question: Question, user: str) -> str:
        if not sample.templated:
            return user + question.answer_prefix
        text = self._templated(user, system=sample.system, earlier=sample.earlier)
        if self.tokenizer.chat_template is None and question.answer_prefix.startswith(" "):
            text = text.removesuffix("\n")  # the benchmark's prefix goes on in the same line
        return text + question.answer_prefix

    def _templated(
        self, user: str, assistant: str | None = None, system: str = "", earlier: Sequence[tuple[str, str]] = ()
    ) -> str:
        if self.tokenizer.chat_template is None:  # a base model: plain text, each answer on a line of its own
            turns = [text for exchange in earlier for text in exchange]
            return "\n".join([*([system] if system else []), *turns, user, assistant or ""])
        messages = [{"role": "system", "content": system}] if system else []
        for asked, answered in earlier:
            messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        messages.append({"role": "user", "content": user})
        if assistant is not None:
            messages.append({"role": "assistant", "content": assistant})
        return self.tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=assistant is None,
            enable_thinking=False,  # read by templates that know it (Qwen 3); retrieval is asked for directly
        )

    def _end_of_turn(self) -> int | None:
        """The id that ends the model's turn: the special token the template writes after an answer, else EOS."""
        if self.tokenizer.chat_template is not None:
            tail = self._templated("question", ANSWER_MARK).rpartition(ANSWER_MARK)[2]
            ids = self.tokenizer(tail, add_special_tokens=False)["input_ids"]
            special = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}
            if ids and ids[0] in special:
                return ids[0]
        return self.tokenizer.eos_token_id

    def prompt_ids(self, sample: Sample, question: Question) -> tuple[int, ...]:
        """The prompt encoded in one piece, with exactly one BOS where the tokenizer has one to add; cut where the
        benchmark prescribes it."""
        return self._within_window(sample, question)[0]

    def _within_window(self, sample: Sample, question: Question) -> tuple[tuple[int, ...], int]:
        """The prompt's ids, and how many tokens of the user's turn they leave out.

        LongBench's rule (`pred.py`): the turn, still without its template, keeps its first and last half of as many
        tokens as there is room for, decoded without special tokens and joined as text; the template comes after.
        """
        user = sample.context + question.text
        ids = self._encoded(self._around(sample, question, user))
        if not sample.cut_middle or self.window is None or len(ids) + sample.max_new_tokens <= self.window:
            return ids, 0
        turn = self.tokenizer(user)["input_ids"]
        kept = len(turn)
        while (excess := len(ids) + sample.max_new_tokens - self.window) > 0:
            kept -= excess  # again where the joined text has more tokens than its halves had
            half = kept // 2
            if half < 1:
                return ids, 0  # no room even for the template: refused later, with the numbers
            ends = (self.tokenizer.decode(part, skip_special_tokens=True) for part in (turn[:half], turn[-half:]))
            ids = self._encoded(self._around(sample, question, "".join(ends)))
        return ids, len(turn) - 2 * half

    def prompt_offsets(self, sample: Sample, question: Question) -> tuple[tuple[int, int], ...]:
        """Where each of `prompt_ids` stands in `prompt_text`: its first character and the one behind its last.

        A BOS that the tokenizer adds stands nowhere, (0, 0). UsageError for a tokenizer that does not tell, and for a
        prompt that lost its middle.
        """
        if not self.tokenizer.is_fast:
            raise UsageError(
                f"the tokenizer of {self.tokenizer.name_or_path!r} does not tell where in a text its tokens stand; use "
                "a model with a fast tokenizer (tokenizer.json)"
            )
        text = self.prompt_text(sample, question)
        encoded = self.tokenizer(text, add_special_tokens=not self._has_bos(text), return_offsets_mapping=True)
        ids = self.prompt_ids(sample, question)
        if tuple(encoded["input_ids"][: len(ids)]) != ids:
            raise UsageError(
                f"the prompt of {sample.identifier} is cut in its middle, so that places in it can't be told; ask for "
                "a shorter one"
            )
        return tuple((start, end) for start, end in encoded["offset_mapping"][: len(ids)])

    def _encoded(self, text: str) -> tuple[int, ...]:
        ids = self.tokenizer(text, add_special_tokens=not self._has_bos(text))["input_ids"]
        if self.tokenizer.chat_template is None and ids and ids[-1] == self.tokenizer.eos_token_id:
            ids = ids[:-1]  # some tokenizers close every text; the answer comes after it here
        return tuple(ids)

    def _has_bos(self, text: str) -> bool:
        """Whether the template wrote the BOS already."""
        bos = self.tokenizer.bos_token
        return self.tokenizer.chat_template is not None and bool(bos) and text.startswith(bos)

    def answer_ids(self, question: Question) -> tuple[int, ...]:
        """The target's ids and the end of the turn. UsageError for an empty target: it could teach nothing."""
        ids = self.tokenizer(question.target, add_special_tokens=False)["input_ids"]
        if not ids:
            raise UsageError(f"a question has an empty answer ({question.target!r}); every question needs a target")
        return (*ids, self.end_of_turn) if self.end_of_turn is not None else tuple(ids)

    def encode(self, sample: Sample) -> Example:
        """One sample -> its example; the shared prefix is the longest common token prefix of its prompts."""
        if not sample.questions:
            raise UsageError(f"sample {sample.identifier} has no questions; give at least one")
        prompts, cuts = zip(*(self._within_window(sample, question) for question in sample.questions), strict=True)
        shared = common_prefix(prompts)
        return Example(
            sample,
            prompts[0][:shared],
            tuple(
                EncodedQuestion(prompt[shared:], self.answer_ids(question))
                for prompt, question in zip(prompts, sample.questions, strict=True)
            ),
            max(cuts),
        )

    def budget(self, sample: Sample) -> int:
        """Tokens the sample needs in the window: its longest prompt and its generation budget."""
        longest = max(len(self.prompt_ids(sample, question)) for question in sample.questions)
        return longest + sample.max_new_tokens


def require_fit(example: Example, window: int | None) -> None:
    """UsageError with the numbers where a prompt and its generation budget exceed the window."""
    needed = example.longest_prompt + example.sample.max_new_tokens
    if window is not None and needed > window:
        raise UsageError(
            f"{example.sample.identifier} needs {needed:,} tokens ({example.longest_prompt:,} of prompt and "
            f"{example.sample.max_new_tokens} to generate) but the model's window is {window:,}; ask for a shorter "
            "--length or fewer --lines, or for a longer window with --extend"
        )
