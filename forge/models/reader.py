"""Page readers built from nothing: `embedded/tiny-reader` and its teacher `embedded/small-reader`.

A `PageEncoder` and a TrOCR decoder that writes characters, as one `VisionEncoderDecoderModel`. Both cut a page into the
same cells and have as many heads, so that their attention to it can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from transformers import PreTrainedModel, TrOCRConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel

from forge.core.hashing import derive_seed
from forge.models.page_encoder import PageEncoderConfig

_HEADS = 4
# Standard deviation of the decoder's first weights. At TrOCR's 0.02 scores of attention begin as nearly nothing, and
# where to look is found later (docs/log.md).
_FIRST_WEIGHTS = 0.06
_KERNEL = [3, 11]  # cells: a cell knows a dozen characters of its line, which tells similar lines apart


@dataclass(frozen=True)
class ReaderShape:
    """Width of both halves, layers and inner width of the decoder."""

    width: int
    decoder_layers: int
    feedforward: int


@dataclass(frozen=True)
class Characters:
    """What a reader writes: how many characters, special ones included, and which of them those are."""

    count: int
    padding: int = 0
    start: int = 1
    end: int = 2


EMBEDDED_READERS: Mapping[str, ReaderShape] = MappingProxyType(
    {
        "embedded/small-reader": ReaderShape(width=192, decoder_layers=3, feedforward=768),
        "embedded/tiny-reader": ReaderShape(width=128, decoder_layers=2, feedforward=512),
        "embedded/mini-reader": ReaderShape(width=96, decoder_layers=2, feedforward=256),
    }
)
"""2.8, 1.0 and 0.55 million parameters. After 100 steps of warm-up a learning rate of 5e-3 suits the tiny and
the mini one better than 3e-3; of the small one nobody knows yet."""


def build_reader_config(
    name: str, characters: Characters, max_length: int = 512, sheet: tuple[int, int] | None = None
) -> VisionEncoderDecoderConfig:
    """The config of an embedded reader; `max_length` is the longest text in characters, its end included.

    `sheet` is height and width in pixels of the pages that it will see, noted for who uses it later.
    """
    if name not in EMBEDDED_READERS:
        raise ValueError(f"no embedded reader {name!r}: choose one of {', '.join(EMBEDDED_READERS)}")
    shape = EMBEDDED_READERS[name]
    special = {
        "pad_token_id": characters.padding,
        "bos_token_id": characters.start,
        "eos_token_id": characters.end,
        "decoder_start_token_id": characters.start,
    }
    kind = {"dtype": "float32"}  # said here, because loading a checkpoint says it: the file stays the same
    decoder = TrOCRConfig(
        vocab_size=characters.count,
        d_model=shape.width,
        decoder_layers=shape.decoder_layers,
        decoder_attention_heads=_HEADS,
        decoder_ffn_dim=shape.feedforward,
        cross_attention_hidden_size=shape.width,
        max_position_embeddings=max_length,
        init_std=_FIRST_WEIGHTS,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        is_decoder=True,
        add_cross_attention=True,
        **special,
        **kind,
    )
    seen = {"hidden_size": shape.width, "kernel": _KERNEL, "image_size": list(sheet) if sheet else None}
    encoder = PageEncoderConfig(**seen, **kind)
    return VisionEncoderDecoderConfig(encoder=encoder.to_dict(), decoder=decoder.to_dict(), **special)


def build_reader(
    name: str, characters: Characters, seed: int, max_length: int = 512, sheet: tuple[int, int] | None = None
) -> PreTrainedModel:
    """An embedded reader in fp32, its weights drawn from `seed` alone."""
    torch.manual_seed(derive_seed(seed, "init"))
    model: PreTrainedModel = VisionEncoderDecoderModel(build_reader_config(name, characters, max_length, sheet))
    return model
