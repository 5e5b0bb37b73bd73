"""A run's translator for CTranslate2, which translates several times as fast on a CPU and needs no torch.

The model goes through the ordinary export, to a temporary folder; what is converted appears whole or not at all.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from forge.core.errors import UserError
from forge.core.io import read_json, storage_errors
from forge.core.manifest import CARD_FILE, WEIGHTS_FILE
from forge.runs.card import CTRANSLATE2, model_card
from forge.runs.export import export, refuse_in_use
from forge.runs.run_dir import RunDirectory

QUANTIZATIONS = (
    "float32",
    "float16",
    "bfloat16",
    "int16",
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
)
NOT_OF_THE_TOKENIZER = {"config.json", "generation_config.json", WEIGHTS_FILE, CARD_FILE}


def export_ctranslate2(run: RunDirectory, out: Path, which: str, quantization: str) -> list[Path]:
    """Convert a verified checkpoint into `out`, with its tokenizer and a model card; returns what was written."""
    if find_spec("ctranslate2") is None:
        raise UserError("--format ctranslate2: it is not installed; pip install 'forge-distill[ctranslate2]'")
    if quantization not in QUANTIZATIONS:
        raise UserError(f"--quantization: no type '{quantization}'; types are {', '.join(QUANTIZATIONS)}")
    metadata, checkpoint = run.metadata(), run.checkpoint(which)
    if metadata["config"]["task"] != "translation":
        raise UserError(f"--format ctranslate2 is for translators; {run.path} is of task {metadata['config']['task']}")
    refuse_in_use(out, checkpoint)
    with storage_errors(f"exporting to {out}"):
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
            hub, made = Path(temporary) / "hub", Path(temporary) / "made"
            export(run, hub, which)
            convert(hub, made, quantization)
            name = metadata["name"].replace("/", "-")
            card = model_card(name, metadata, run.state(), checkpoint.name, CTRANSLATE2)
            (made / CARD_FILE).write_text(card, encoding="utf-8")
            made.rename(out)
    return sorted(out.iterdir())


def convert(hub: Path, made: Path, quantization: str) -> None:
    """Convert a folder in hub format. Raises UserError for a model that cannot be."""
    _refuse_others(read_json(hub / "config.json"))
    from forge.runs.ctranslate2_marian import MarianConverter

    MarianConverter(hub).convert(str(made), quantization=quantization)
    for path in sorted(hub.iterdir()):
        if path.name not in NOT_OF_THE_TOKENIZER:
            shutil.copy2(path, made / path.name)


def _refuse_others(config: dict[str, Any]) -> None:
    kind = config.get("model_type")
    if kind != "marian":
        raise UserError(f"--format ctranslate2: there is no converter for {kind}, only for Marian; export without it")
    if not config.get("share_encoder_decoder_embeddings", True):
        raise UserError(
            "--format ctranslate2: there is no converter for Marian with two vocabularies; export without it"
        )
