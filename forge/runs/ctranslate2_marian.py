"""A Marian model of transformers as CTranslate2 specifies one. It imports CTranslate2, so it is imported where needed.

CTranslate2's own loader is for models that Marian itself trained: it takes the padding for the last piece, deletes
it, and starts the decoder from zeros. Here padding may be any piece, and training moves its embedding, which is tied
to the output: the decoder must start from it as it is, as it does in transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from ctranslate2.converters.converter import Converter
from ctranslate2.converters.transformers import BartLoader
from transformers import AutoTokenizer, MarianMTModel
from transformers.utils.logging import disable_progress_bar

from forge.models.seq2seq import start_token

FORBIDDEN = -1e4  # added to the logit of a piece that must not be written; float16 still holds it


class MarianConverter(Converter):  # type: ignore[misc]
    """Converts a folder in hub format."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    @torch.no_grad()
    def _load(self) -> Any:
        disable_progress_bar()
        model = MarianMTModel.from_pretrained(self.folder, dtype=torch.float32)
        return _Loader()(model, AutoTokenizer.from_pretrained(self.folder))


class _Loader(BartLoader):  # type: ignore[misc]
    @property
    def architecture_name(self) -> str:
        return "MarianMTModel"

    def get_model_spec(self, model: Any) -> Any:
        model.config.normalize_before = False  # Marian normalises after each sublayer, and no embeddings
        model.config.normalize_embedding = False
        spec = super().get_model_spec(model)
        bias_V = model.final_logits_bias.squeeze(0).clone()
        for words in model.generation_config.bad_words_ids or []:
            if len(words) == 1:
                bias_V[words[0]] = FORBIDDEN
        if bias_V.any():
            spec.decoder.projection.bias = bias_V
        return spec

    def get_vocabulary(self, model: Any, tokenizer: Any) -> list[str]:
        tokens = list(super().get_vocabulary(model, tokenizer))
        return tokens + [f"<unused{place}>" for place in range(len(tokens), model.config.vocab_size)]

    def set_config(self, config: Any, model: Any, tokenizer: Any) -> None:
        config.eos_token = tokenizer.eos_token
        config.bos_token = tokenizer.bos_token or tokenizer.eos_token  # it must be a text; nothing reads it
        config.unk_token = tokenizer.unk_token or tokenizer.eos_token
        config.decoder_start_token = tokenizer.convert_ids_to_tokens(start_token(model))
