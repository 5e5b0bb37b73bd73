"""Tiny translation models as folders in hub format: the classes and the files of their large kin, untrained."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

PIECES = 200
SPREAD = 0.5
LANGUAGES = ("en", "fr", "de")
SIZES = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 64,
}


def t5(folder: Path, texts: Iterable[str]) -> Path:
    """Asked in words: "translate English to French: "."""
    from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

    tokenizer = T5Tokenizer(vocab=_unigram(texts, ["<pad>", "</s>", "<unk>"]), extra_ids=4)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    return _save(folder, T5ForConditionalGeneration, config, tokenizer)


def mbart(folder: Path, texts: Iterable[str]) -> Path:
    """Tokens like en_XX mark both sides."""
    from transformers import MBartConfig, MBartForConditionalGeneration, MBartTokenizer

    tokenizer = MBartTokenizer(vocab=_unigram(texts, ["<s>", "<pad>", "</s>", "<unk>"]), src_lang="en_XX")
    config = MBartConfig(vocab_size=len(tokenizer), **SIZES, pad_token_id=1, bos_token_id=0, eos_token_id=2)
    config.decoder_start_token_id = 2
    return _save(folder, MBartForConditionalGeneration, config, tokenizer)


def nllb(folder: Path, texts: Iterable[str]) -> Path:
    """Tokens like eng_Latn mark both sides; the model is an M2M100."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trained.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=PIECES, special_tokens=special))
    parts = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in parts["merges"]]
    tokenizer = NllbTokenizer(vocab=parts["vocab"], merges=merges, src_lang="eng_Latn", tgt_lang="fra_Latn")
    config = M2M100Config(vocab_size=len(tokenizer), **SIZES, pad_token_id=1, bos_token_id=0, eos_token_id=2)
    config.decoder_start_token_id = 2
    return _save(folder, M2M100ForConditionalGeneration, config, tokenizer)


def m2m(folder: Path, texts: Iterable[str]) -> Path:
    """Tokens like __en__ mark both sides; 100 of them and 8 without meaning follow the pieces. Needs sentencepiece."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer

    pieces = _sentencepiece(folder, "sentencepiece.bpe.model", texts)
    names = ["<s>", "<pad>", "</s>", "<unk>", *(piece for piece in pieces if not piece.startswith("<"))]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(names)}))
    tokenizer = M2M100Tokenizer(str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model"))
    config = M2M100Config(vocab_size=len(names) + 108, **SIZES, pad_token_id=1, bos_token_id=0, eos_token_id=2)
    config.decoder_start_token_id = 2
    return _save(folder, M2M100ForConditionalGeneration, config, tokenizer)


def marian(folder: Path, texts: Iterable[str]) -> Path:
    """As OPUS-MT ships it: two sentencepiece models and one vocabulary, decoding begins with padding."""
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    texts = list(texts)
    sides = [_sentencepiece(folder, f"{side}.spm", texts[start::2]) for side, start in (("source", 0), ("target", 1))]
    pieces = sorted({piece for side in sides for piece in side if not piece.startswith("<")})
    vocabulary = {piece: number for number, piece in enumerate(["</s>", "<unk>", *pieces, "<pad>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    files = [str(folder / name) for name in ("source.spm", "target.spm", "vocab.json")]
    tokenizer = MarianTokenizer(*files, source_lang="en", target_lang="fr", model_max_length=64)
    padding = vocabulary["<pad>"]
    config = MarianConfig(
        vocab_size=len(vocabulary), **SIZES, pad_token_id=padding, eos_token_id=0, bos_token_id=0,
        decoder_start_token_id=padding, forced_eos_token_id=0, static_position_embeddings=True, scale_embedding=True,
    )  # fmt: skip
    return _save(folder, MarianMTModel, config, tokenizer, bad_words_ids=[[padding]])


FOLDERS: dict[str, Callable[[Path, Iterable[str]], Path]] = {
    "t5": t5, "mbart": mbart, "nllb": nllb, "m2m": m2m, "marian": marian
}  # fmt: skip
WITH_SENTENCEPIECE = pytest.mark.skipif(
    not importlib.util.find_spec("sentencepiece"),
    reason="the tokenizer is made of sentencepiece models, and sentencepiece is not installed",
)
NEED_SENTENCEPIECE = {"m2m", "marian"}


def _unigram(texts: Iterable[str], special: list[str]) -> list[tuple[str, float]]:
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=PIECES, special_tokens=special, unk_token="<unk>")
    trained.train_from_iterator(texts, trainer)
    return [(piece, score) for piece, score in json.loads(trained.to_str())["model"]["vocab"]]


def _sentencepiece(folder: Path, name: str, texts: Iterable[str]) -> list[str]:
    import sentencepiece

    with (folder / name).open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=file, vocab_size=PIECES // 2, hard_vocab_limit=False,
            num_threads=1, minloglevel=2,
        )  # fmt: skip
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / name))
    return [model.id_to_piece(number) for number in range(model.get_piece_size())]


def _save(folder: Path, model_class: Any, config: Any, tokenizer: Any, **generation: Any) -> Path:
    torch.manual_seed(0)
    model = model_class(config)
    with torch.no_grad():  # far from zero, so that what is written depends on what was read
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=SPREAD)
    for name, value in generation.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
