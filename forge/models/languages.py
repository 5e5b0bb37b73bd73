"""Models of many languages: which token says the language, or which prefix asks for it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from forge.core.errors import UserError

# ISO 639-1 → English name, for T5's prefixes; ISO 639-3, for NLLB's codes.
NAMES = {
    "ar": ("Arabic", "arb"), "bg": ("Bulgarian", "bul"), "cs": ("Czech", "ces"), "da": ("Danish", "dan"),
    "de": ("German", "deu"), "el": ("Greek", "ell"), "en": ("English", "eng"), "es": ("Spanish", "spa"),
    "et": ("Estonian", "est"), "fi": ("Finnish", "fin"), "fr": ("French", "fra"), "hi": ("Hindi", "hin"),
    "hu": ("Hungarian", "hun"), "it": ("Italian", "ita"), "ja": ("Japanese", "jpn"), "ko": ("Korean", "kor"),
    "lt": ("Lithuanian", "lit"), "lv": ("Latvian", "lvs"), "nl": ("Dutch", "nld"), "pl": ("Polish", "pol"),
    "pt": ("Portuguese", "por"), "ro": ("Romanian", "ron"), "ru": ("Russian", "rus"), "sk": ("Slovak", "slk"),
    "sl": ("Slovenian", "slv"), "sv": ("Swedish", "swe"), "tr": ("Turkish", "tur"), "uk": ("Ukrainian", "ukr"),
    "vi": ("Vietnamese", "vie"), "zh": ("Chinese", "zho"),
}  # fmt: skip
LANGUAGE_TOKEN = re.compile(r"(__)?[a-z]{2,3}(_[A-Z][A-Za-z]+)?(__)?")  # en_XX, eng_Latn, __en__
MOST_SHOWN = 8


@dataclass(frozen=True)
class Direction:
    """What a model must be told about the languages. All empty for a model of one pair of languages."""

    prefix: str = ""  # before each source text
    source_code: str = ""  # for the tokenizer
    target_code: str = ""
    target_token: int | None = None  # the first token that the decoder writes


def direction(
    config: PretrainedConfig | None, tokenizer: PreTrainedTokenizerBase, source: str | None, target: str | None
) -> Direction:
    """How to tell a model to translate from `source` into `target`. Raises UserError for a language it lacks."""
    kind = config.model_type if config else ""
    if kind in {"t5", "umt5"}:
        return Direction(prefix=_prefix(source, target))
    codes = _codes(tokenizer)
    if not codes:
        return Direction()
    mine, its = (_code(language, codes, key) for language, key in ((source, "source"), (target, "target")))
    return Direction("", mine, its, codes[its])


def set_languages(tokenizer: PreTrainedTokenizerBase, told: Direction) -> None:
    """Let the tokenizer mark both sides with their languages."""
    if told.source_code:
        tokenizer.src_lang, tokenizer.tgt_lang = told.source_code, told.target_code


def _codes(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Codes of a tokenizer for many languages, with their token."""
    if not hasattr(tokenizer, "src_lang"):
        return {}
    if named := getattr(tokenizer, "lang_code_to_id", None):
        return dict(named)
    special = {str(token): int(tokenizer.convert_tokens_to_ids(token)) for token in tokenizer.all_special_tokens}
    return {token.strip("_"): number for token, number in special.items() if LANGUAGE_TOKEN.fullmatch(token)}


def _code(language: str | None, codes: dict[str, int], key: str) -> str:
    if not language:
        raise UserError(f"data.languages.{key}: this model knows many languages; say which, for example en")
    plain = language.split("-")[0].lower()
    three = NAMES.get(plain, ("", ""))[1]
    for wanted in (language, plain, three):
        found = sorted(code for code in codes if wanted and (code == wanted or code.startswith(f"{wanted}_")))
        latin = [code for code in found if code.endswith("_Latn")]
        if found:
            return (latin or found)[0]
    shown = ", ".join(sorted(codes)[:MOST_SHOWN])
    raise UserError(f"data.languages.{key}: this model does not know '{language}'; it knows {shown}, … ({len(codes)})")


def _prefix(source: str | None, target: str | None) -> str:
    named = [NAMES.get((language or "").split("-")[0].lower(), ("", ""))[0] for language in (source, target)]
    if not all(named):
        raise UserError(
            f'data.languages: T5 is asked in words ("translate English to German: "), and the name of '
            f"'{source if not named[0] else target}' is not known here; known are {', '.join(NAMES)}"
        )
    return f"translate {named[0]} to {named[1]}: "
