"""A tokenizer whose tokens are characters: what an embedded reader writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from forge.tasks.embedded.page_words import CHARACTERS

PAD, START, END, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
MOST = 2_000  # characters of an alphabet; the rarest of more are unknown


def character_tokenizer(texts: Iterable[str], max_length: int) -> PreTrainedTokenizerFast:
    """Every character of the embedded pages and of `texts`: `<pad>` is 0, `<s>` 1, `</s>` 2, and a text ends in it."""
    seen = Counter(character for text in texts for character in text if character not in CHARACTERS)
    others = sorted(character for character, _ in seen.most_common(MOST - len(CHARACTERS)))
    vocabulary = {token: number for number, token in enumerate([PAD, START, END, UNKNOWN, *CHARACTERS, *others])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, vocabulary[END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        unk_token=UNKNOWN,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
