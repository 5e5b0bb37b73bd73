"""README.md of an exported model: a model card in the hub's format, with figures that were measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from forge.core.manifest import AVERAGE, average_of, checkpoint_names

HUB_TASKS = {"classification": "text-classification", "translation": "translation", "ocr": "image-text-to-text"}


TRANSFORMERS, CTRANSLATE2 = "transformers", "ctranslate2"  # what loads an exported folder


def model_card(
    name: str, metadata: Mapping[str, Any], state: Mapping[str, Any], checkpoint: str, library: str = TRANSFORMERS
) -> str:
    """The card of a run's checkpoint. Figures are known of the best one and of the average; no other claims them."""
    config = metadata["config"]
    assets = metadata["assets"]
    task = HUB_TASKS[config["task"]]
    is_result = checkpoint == checkpoint_names(state)["best"]
    measured = {f"{split} (validation)": figures for split, figures in _validation(state, checkpoint).items()}
    measured |= {f"{split} (test)": figures for split, figures in (state.get("test", {}) if is_result else {}).items()}
    # Only what the model was really made from is claimed: a stand-in is named as itself, and new weights have no base.
    from_hub = {name for name in ("model", "data") if assets[name]["source"] in {"hub", "cache"}}
    from_weights = "model" in from_hub and config["model"].get("init", "pretrained") == "pretrained"
    front: dict[str, Any] = {
        "library_name": library,
        "pipeline_tag": task,
        "tags": ["forge"],
        **({"base_model": assets["model"]["asked"]} if from_weights else {}),
        **({"datasets": [config["data"]["name"]]} if "data" in from_hub else {}),
    }
    if measured:
        front["model-index"] = [{"name": name, "results": [_result(task, assets, *item) for item in measured.items()]}]
    rows = "\n".join(
        f"| {split} | " + " | ".join(f"{value:.4f}" for value in figures.values()) + " |"
        for split, figures in measured.items()
    )
    columns = list(next(iter(measured.values()), {}))
    table = f"| split | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}\n{rows}"
    return CARD.format(
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(),
        name=name,
        model=assets["model"]["description"],
        data=assets["data"]["description"],
        mode=metadata["mode"],
        checkpoint=_described(state, checkpoint),
        total=state.get("total_steps"),
        usage=_usage(metadata, library).strip(),
        table=(table if measured else "This checkpoint is not the run's best one; its figures were not kept.")
        + ("\n\nConverted to CTranslate2; the figures are of the model before." if library == CTRANSLATE2 else ""),
        version=metadata["versions"]["forge"],
        config=yaml.safe_dump(config, sort_keys=False, allow_unicode=True).strip(),
    )


def _validation(state: Mapping[str, Any], checkpoint: str) -> Mapping[str, Mapping[str, float]]:
    """What is known of a checkpoint on the validation splits."""
    best = state.get("best") or {}
    if checkpoint == AVERAGE:
        return dict(average_of(state).get("validation", {}))
    return dict(best["validation"]) if checkpoint == f"checkpoint-{best.get('step')}" else {}


def _described(state: Mapping[str, Any], checkpoint: str) -> str:
    if checkpoint == AVERAGE:
        of = [name.removeprefix("checkpoint-") for name in average_of(state).get("of", [])]
        return f"Average of the weights at steps {', '.join(of)}," if of else "An average of checkpoints,"
    step = checkpoint.removeprefix("checkpoint-")
    is_best = int(step) == (state.get("best") or {}).get("step")
    return ("Best checkpoint, at" if is_best else "Checkpoint at") + f" step {step}"


def _usage(metadata: Mapping[str, Any], library: str) -> str:
    """Python code that answers with the exported folder."""
    config = metadata["config"]
    if config["task"] == "ocr":
        return _reading(metadata)
    if config["task"] != "translation":
        return CLASSIFY
    data, search = config["data"], config["generate"]
    most = search["max_length"] or data["max_target_length"] or data["max_length"]
    code = TRANSLATE if library == TRANSFORMERS else TRANSLATE_FAST
    return code.format(longest=data["max_length"], beams=search["beams"], penalty=search["length_penalty"], most=most)


def _reading(metadata: Mapping[str, Any]) -> str:
    """Of an embedded reader, which sees a sheet of one size, or of a model with a processor of its own."""
    config = metadata["config"]
    data, search = config["data"], config["generate"]
    longest = data["max_target_length"] or data["max_length"]
    beams, most = search["beams"], search["max_length"] or longest
    if sheet := metadata.get("sheet"):
        return READ_SHEET.format(height=sheet[0], width=sheet[1], beams=beams, most=min(most, longest))
    return READ.format(prompt=data["pages"]["prompt"], beams=beams, most=most)


def _result(task: str, assets: Mapping[str, Any], split: str, figures: Mapping[str, float]) -> dict[str, Any]:
    data = assets["data"]["location"] if assets["data"].get("stand_in") else assets["data"]["asked"]
    return {
        "task": {"type": task},
        "dataset": {"name": data, "type": data, "split": split},
        "metrics": [{"type": name, "value": round(value, 6)} for name, value in figures.items()],
    }


CLASSIFY = """
from transformers import pipeline

print(pipeline("text-classification", "path/to/this/folder")("A text."))
"""

TRANSLATE = """
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

folder, texts = "path/to/this/folder", ["A sentence."]
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder)
inputs = tokenizer(texts, truncation=True, max_length={longest}, padding=True, return_tensors="pt")
inputs.pop("token_type_ids", None)
written = model.generate(**inputs, num_beams={beams}, length_penalty={penalty}, max_new_tokens={most})
print(tokenizer.batch_decode(written, skip_special_tokens=True))
"""

TRANSLATE_FAST = """
from ctranslate2 import Translator
from transformers import AutoTokenizer  # works without torch

folder, texts = "path/to/this/folder", ["A sentence."]
tokenizer, translator = AutoTokenizer.from_pretrained(folder), Translator(folder)
inputs = tokenizer(texts, truncation=True, max_length={longest})["input_ids"]
pieces = [tokenizer.convert_ids_to_tokens(ids) for ids in inputs]
for found in translator.translate_batch(
    pieces, beam_size={beams}, length_penalty={penalty}, max_decoding_length={most}, max_batch_size=64
):
    ids = tokenizer.convert_tokens_to_ids(found.hypotheses[0])
    print(tokenizer.decode(ids, skip_special_tokens=True).strip())
"""

READ_SHEET = """
import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoTokenizer

import forge.models.page_encoder  # its encoder is Forge's own: pip install forge-distill

folder, height, width = "path/to/this/folder", {height}, {width}
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForImageTextToText.from_pretrained(folder)
page = Image.open("page.png").convert("L")  # black on white, as large as the pages that it was trained on
page.thumbnail((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
sheet = Image.new("L", (width, height), int(np.median(page)))
sheet.paste(page)  # at the upper left
pixels = torch.from_numpy(np.asarray(sheet).copy())[None, None] / 255
written = model.generate(pixel_values=pixels, num_beams={beams}, max_new_tokens={most})
print(tokenizer.decode(written[0], skip_special_tokens=True))
"""

READ = """
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

folder = "path/to/this/folder"
processor, model = AutoProcessor.from_pretrained(folder), AutoModelForImageTextToText.from_pretrained(folder)
content = [{{"type": "image", "image": Image.open("page.png")}}, {{"type": "text", "text": {prompt!r}}}]
told = [{{"role": "user", "content": content}}]
how = {{"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}}
inputs = processor.apply_chat_template(told, **how)
written = model.generate(**inputs, num_beams={beams}, max_new_tokens={most})
print(processor.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
"""

CARD = """---
{front}
---

# {name}

Start: {model}. Data: {data}. Mode: {mode}. {checkpoint} of {total}.

{table}

```python
{usage}
```

Trained with Forge {version} from these settings:

```yaml
{config}
```
"""
