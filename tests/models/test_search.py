"""The search that lets go of ended texts finds what transformers' own search finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from forge.models.generate import Decoding, write_several, write_watched
from forge.models.reader import Characters, build_reader
from forge.models.search import LEAVING, UnableError, largest, search

VOCABULARY, PADDING, END, TEXTS = 40, 0, 1, 21
BART: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64,
}  # fmt: skip
SAME: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": PADDING, "eos_token_id": END, "bos_token_id": 2}


def marian() -> Any:
    config = MarianConfig(**SAME, **BART, decoder_start_token_id=PADDING, forced_eos_token_id=END, scale_embedding=True)
    return MarianMTModel(config)


def mbart() -> Any:
    return MBartForConditionalGeneration(MBartConfig(**SAME, **BART, decoder_start_token_id=2))


def m2m100() -> Any:
    return M2M100ForConditionalGeneration(M2M100Config(**SAME, **BART, decoder_start_token_id=END))


def t5() -> Any:
    config = T5Config(**SAME, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4, decoder_start_token_id=PADDING)
    return T5ForConditionalGeneration(config)


def reader() -> Any:
    model: Any = build_reader("embedded/tiny-reader", Characters(VOCABULARY), seed=0, max_length=64)
    for settings in (model.config, model.config.decoder, model.generation_config):
        settings.eos_token_id, settings.pad_token_id = END, PADDING
    return model


def drawn(make: Callable[[], Any]) -> Any:
    """A model that writes texts of different lengths: its weights are large, and it likes to end."""
    torch.manual_seed(2)
    model = make().eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embed_positions" not in name:
                weight.normal_()
            if "fc2" in name or "out_proj" in name:
                weight.mul_(2)
        model.get_output_embeddings().weight[END] *= 2
    return model


def sources() -> dict[str, torch.Tensor]:
    lengths = torch.tensor([2 + 3 * (number % 5) for number in range(TEXTS)])
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    ids = torch.randint(3, VOCABULARY, mask.shape, generator=torch.Generator().manual_seed(1))
    return {"input_ids": torch.where(mask.bool(), ids, PADDING), "attention_mask": mask}


def pages() -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.rand(TEXTS, 1, 32, 64, generator=torch.Generator().manual_seed(1))}


def cut(texts: torch.Tensor, also: int = END) -> list[list[int]]:
    """Up to the end: what follows is padding, of any length."""
    rows = [row[1:] for row in texts.tolist()]
    ends = [min((place for place, token in enumerate(row) if token in {END, also}), default=len(row)) for row in rows]
    return [row[: end + 1] for row, end in zip(rows, ends, strict=True)]


SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy, forced": {"forced_bos_token_id": 7, "no_repeat_ngram_size": 2},
    "beams": {"num_beams": 4, "early_stopping": True},
    "beams, all kept": {"num_beams": 4, "early_stopping": True, "num_return_sequences": 4, "length_penalty": 0.6},
    "beams, until none is better": {"num_beams": 3, "early_stopping": False, "length_penalty": 2.0},
    "beams, never": {"num_beams": 3, "early_stopping": "never"},
    "beams, forced": {"num_beams": 4, "early_stopping": True, "forced_bos_token_id": 7, "bad_words_ids": [[5], [9]]},
    "beams, two ends": {"num_beams": 4, "early_stopping": True, "eos_token_id": [END, 11]},
}


@pytest.mark.parametrize("make", [marian, mbart, m2m100, t5, reader])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_it_finds_what_transformers_finds(make: Callable[[], Any], settings: dict[str, Any]) -> None:
    model = drawn(make)
    read = pages() if make is reader else sources()
    asked = read | {"do_sample": False, "max_new_tokens": 24, "max_length": None} | settings
    theirs, ours = model.generate(**asked), model.generate(**asked, custom_generate=search)
    also = 11 if isinstance(settings.get("eos_token_id"), list) else END
    assert cut(ours, also) == cut(theirs, also)


@pytest.mark.parametrize("make", [marian, mbart, m2m100, t5, reader])
def test_the_texts_of_this_test_end_at_different_times(make: Callable[[], Any]) -> None:
    asked = pages() if make is reader else sources()
    texts = cut(drawn(make).generate(**asked, max_new_tokens=24, max_length=None, num_beams=4, early_stopping=True))
    assert len({len(text) for text in texts}) > 1


def test_pages_that_have_ended_are_decoded_no_more() -> None:
    model, rows = drawn(reader), []
    model.decoder.register_forward_pre_hook(lambda _, __, named: rows.append(len(named["input_ids"])), with_kwargs=True)
    texts = write_watched(model, pages(), Decoding(1, 24))
    going = [sum(len(text.ids) > step for text in texts) for step in range(len(rows))]
    assert rows[0] == TEXTS > rows[-1]
    assert max(len(text.ids) for text in texts) == len(rows)
    assert all((there - left) * LEAVING < there for there, left in zip(rows, going, strict=True))


def test_what_it_does_not_know_is_left_to_transformers() -> None:
    model = drawn(marian)
    asked = sources() | {"do_sample": False, "max_new_tokens": 9, "max_length": None}
    model.generation_config.encoder_no_repeat_ngram_size = 2  # looks at the sources of a whole batch
    with pytest.raises(UnableError):
        model.generate(**asked, custom_generate=search)
    assert [text for (text,) in write_several(model, sources(), Decoding(1, 9), 1)] == cut(model.generate(**asked))


@pytest.mark.parametrize("width", [3, 640, 1000, 9600, 9601])
def test_the_largest_are_found(width: int) -> None:
    scores = torch.randperm(7 * width, generator=torch.Generator().manual_seed(width)).float().view(7, width)
    values, places = largest(scores, min(width, 10))
    expected = scores.topk(min(width, 10))
    assert torch.equal(values, expected.values)
    assert torch.equal(places, expected.indices)
