"""Tokenizers trained on the spot: WordPiece shaped like BERT's, and one byte-level BPE for two languages."""

from __future__ import annotations

from collections.abc import Iterable
from string import whitespace

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

# [PAD] comes first: models that pad assume id 0.
UNKNOWN = "[UNK]"
SPECIAL_TOKENS = ("[PAD]", UNKNOWN, "[CLS]", "[SEP]", "[MASK]")
VOCAB_SIZE = 1_200
MAX_LENGTH = 64


def train_wordpiece(texts: Iterable[str], vocab_size: int = VOCAB_SIZE) -> Tokenizer:
    """A bare WordPiece tokenizer with BERT's normalizer, pre-tokenizer and pair template, trained on the texts.

    The same texts give the same ids in every process: a resumed run and its data must agree.
    """
    lines = list(texts)
    tokenizer = _around(models.WordPiece(vocab=_vocabulary(lines, vocab_size), unk_token=UNKNOWN))
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return tokenizer


def _vocabulary(lines: list[str], vocab_size: int) -> dict[str, int]:
    # The trainer numbers letters in the order of a hash map, which differs from process to process, and breaks ties
    # between merges by number. Naming every letter first, alone and inside a word, leaves nothing to chance.
    tokenizer = _around(models.WordPiece(unk_token=UNKNOWN))
    used = "".join(sorted(set().union(*lines)))
    letters = sorted(set(tokenizer.normalizer.normalize_str(used)) - set(whitespace))
    named = [*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters)]
    trainer = trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=named, show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    return dict(tokenizer.get_vocab())


def _around(model: models.WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def build_tokenizer(texts: Iterable[str], vocab_size: int = VOCAB_SIZE) -> PreTrainedTokenizerFast:
    """Train on the texts and wrap for ``transformers``; saved, it loads through ``AutoTokenizer``."""
    return BertTokenizerFast(tokenizer_object=train_wordpiece(texts, vocab_size), model_max_length=MAX_LENGTH)


PAD, END, UNKNOWN_PIECE = "<pad>", "</s>", "<unk>"
# An elided word keeps its apostrophe (l'|accord), a possessive too (Council|'s); digits stand alone, to be copied.
_WORDS = r" ?(?i:[cdjlmnst]|qu)'(?=\p{L})|'s(?!\p{L})| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+"


def train_joint_bpe(texts: Iterable[str], vocab_size: int, max_length: int = 512) -> PreTrainedTokenizerFast:
    """One BPE for the source and the target texts: `<pad>` is 0, every text ends in `</s>`, decoding is exact.

    It works on bytes, so nothing is unknown to it; `<unk>` is there for models that ask for one. The texts are read
    once and not kept. Letters come from a fixed alphabet and ties are broken by id: every process finds the same.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END, UNKNOWN_PIECE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", pair=f"$A $B {END}", special_tokens=[(END, tokenizer.token_to_id(END))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN_PIECE,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,  # it would close up the space before ? and !
    )
