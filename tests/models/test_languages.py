"""Telling models of many languages which two are meant, with the tokenizer classes of transformers themselves."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import BertConfig, MBartTokenizer, NllbTokenizer, T5Config

from forge.core.errors import UserError
from forge.models.languages import direction, set_languages
from forge.tasks.embedded.tokenizer import train_joint_bpe


@pytest.mark.parametrize(
    ("kind", "source", "target"), [(NllbTokenizer, "eng_Latn", "fra_Latn"), (MBartTokenizer, "en_XX", "fr_XX")]
)
def test_codes_of_the_languages(kind: Any, source: str, target: str) -> None:
    tokenizer = kind()
    told = direction(None, tokenizer, "en-GB", "fr")
    assert (told.source_code, told.target_code) == (source, target)
    assert told.target_token == tokenizer.convert_tokens_to_ids(target)
    set_languages(tokenizer, told)
    assert tokenizer.convert_tokens_to_ids(source) in tokenizer("")["input_ids"]
    with pytest.raises(UserError, match="does not know 'tlh'"):
        direction(None, tokenizer, "en", "tlh")
    with pytest.raises(UserError, match=r"data\.languages\.source: this model knows many"):
        direction(None, tokenizer, None, "fr")


def test_t5_is_asked_in_words() -> None:
    tokenizer = train_joint_bpe(["a b"], 300)
    assert direction(T5Config(), tokenizer, "en", "fr").prefix == "translate English to French: "
    with pytest.raises(UserError, match="name of 'tlh' is not known"):
        direction(T5Config(), tokenizer, "en", "tlh")


def test_a_model_of_one_pair_is_told_nothing() -> None:
    told = direction(BertConfig(), train_joint_bpe(["a b"], 300), None, None)
    assert (told.prefix, told.target_token) == ("", None)
