# SPDX-License-Identifier: Apache-2.0
"""Examples -> steps of transformers.Trainer with a PEFT adapter: one full prompt a question, labels on the answer."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

from peft import IA3Config, LoraConfig, PeftMixedModel, PeftModel, TaskType, get_peft_model
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from seal_attention.adapters import LORA_RANK
from seal_attention.models import LoadedModel
from seal_attention.prompts import EncodedQuestion, Example

OUTPUT_PROJECTION = r".*\.self_attn\.o_proj"
CONFIGS = {
    "ia3": IA3Config(
        task_type=TaskType.CAUSAL_LM, target_modules=OUTPUT_PROJECTION, feedforward_modules=OUTPUT_PROJECTION
    ),
    "lora": LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=LORA_RANK,
        lora_alpha=2 * LORA_RANK,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
    ),
}
Row = dict[str, list[int]]


class Rows(Dataset[Row]):
    """Ids and labels, a row a question."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Row:
        return self.rows[place]


def row_of(example: Example, question: EncodedQuestion) -> Row:
    """One question's whole prompt and answer; the loss looks at the answer alone."""
    prompt = list(example.prompt_ids(question))
    return {
        "input_ids": [*prompt, *question.answer_ids],
        "labels": [-100] * len(prompt) + list(question.answer_ids),
    }


def wrapped(model: LoadedModel, method: str) -> PeftModel | PeftMixedModel:
    """The model with PEFT's adapter inside; without the cache of keys and values, which training has no use for."""
    model.model.config.use_cache = False
    return get_peft_model(model.model, CONFIGS[method])


def train(
    model: PeftModel | PeftMixedModel,
    rows: Sequence[Row],
    callback: TrainerCallback,
    *,
    rows_a_step: int,
    rate: float,
    checkpoint: bool,
) -> None:
    """One epoch over the rows in their order, AdamW at a constant rate, a row at a time as memory asks for."""

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=True,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=rows_a_step,
            num_train_epochs=1,
            train_sampling_strategy="sequential",  # a context's questions share a step, as on our side
            learning_rate=rate,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=0.0,  # none of the two sides clips
            gradient_checkpointing=checkpoint,
            gradient_checkpointing_kwargs={"use_reentrant": False} if checkpoint else None,
            dataloader_pin_memory=False,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        Trainer(model=model, args=arguments, train_dataset=Rows(rows), callbacks=[callback]).train()
