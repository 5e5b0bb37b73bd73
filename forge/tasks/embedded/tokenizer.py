"""A WordPiece tokenizer trained on the embedded data, shaped like BERT's."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

# [PAD] comes first: models that pad assume id 0.
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCAB_SIZE = 1_200
MAX_LENGTH = 64


def train_wordpiece(texts: Iterable[str], vocab_size: int = VOCAB_SIZE) -> Tokenizer:
    """A bare WordPiece tokenizer with BERT's normalizer, pre-tokenizer and pair template, trained on the texts."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL_TOKENS), show_progress=False, min_frequency=1
    )
    # Letters are counted in a hash map whose order changes from run to run: fixing them first fixes every id.
    lines = list(texts)
    trainer.initial_alphabet = sorted({letter for line in lines for letter in line.lower() if letter.isalnum()})
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.decoder = decoders.WordPiece()
    ids = {token: tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=list(ids.items())
    )
    return tokenizer


def build_tokenizer(texts: Iterable[str], vocab_size: int = VOCAB_SIZE) -> PreTrainedTokenizerFast:
    """Train on the texts and wrap for ``transformers``; saved, it loads through ``AutoTokenizer``."""
    return BertTokenizerFast(tokenizer_object=train_wordpiece(texts, vocab_size), model_max_length=MAX_LENGTH)
