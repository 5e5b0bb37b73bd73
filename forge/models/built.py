"""Encoder-decoders made from nothing: the shape from `model.build`, the vocabulary from a tokenizer of the data.

A Transformer as Vaswani et al. 2017 (arXiv 1706.03762) describe it, normalised after each sublayer, with sinusoidal
positions and one embedding table for source, target and output. It is a `MarianMTModel` of transformers, so that
everything that loads Marian loads it.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import MarianConfig, PreTrainedModel

from forge.config.schema import Build

BUILT_MODELS = ("built/marian",)


def marian_config(build: Build, vocab_size: int, padding: int, end: int) -> MarianConfig:
    """The configuration of a model of this shape, for a tokenizer with so many pieces and these two tokens."""
    feedforward = build.feedforward or 4 * build.width
    return MarianConfig(
        vocab_size=vocab_size,
        d_model=build.width,
        encoder_layers=build.layers,
        decoder_layers=build.decoder_layers or build.layers,
        encoder_attention_heads=build.heads,
        decoder_attention_heads=build.heads,
        encoder_ffn_dim=feedforward,
        decoder_ffn_dim=feedforward,
        dropout=build.dropout,
        attention_dropout=0.0,
        activation_dropout=0.0,
        activation_function="relu",
        max_position_embeddings=build.max_positions,
        scale_embedding=True,
        share_encoder_decoder_embeddings=True,
        tie_word_embeddings=True,
        pad_token_id=padding,
        bos_token_id=None,
        eos_token_id=end,
        decoder_start_token_id=padding,
        forced_eos_token_id=None,  # Marian forces its own id 0 at the longest length, which may be the padding here
        num_beams=1,
    )


def draw_weights(model: PreTrainedModel) -> None:
    """Weights as the paper's implementations draw them: Xavier for matrices, N(0, 1/width) for embeddings.

    transformers draws everything from N(0, 0.02²), with which narrow models start an order of magnitude too quiet.
    """
    width = model.config.d_model
    for module in model.modules():
        if isinstance(module, nn.Linear) and module is not model.get_output_embeddings():
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    embedding = model.get_input_embeddings().weight
    with torch.no_grad():
        embedding.normal_(0.0, width**-0.5)
        embedding[model.config.pad_token_id].zero_()
