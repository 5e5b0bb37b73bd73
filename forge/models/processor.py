"""Processors of models that read images: from a directory, and as files for a checkpoint."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from transformers import AutoProcessor, PretrainedConfig
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.utils import is_torchvision_available

from forge.config.schema import Model
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.core.manifest import TOKENIZER_LIST
from forge.models.directory import listed_tokenizer
from forge.models.load import Readable, load_tokenizer

_OF_A_PROCESSOR = re.compile(
    r"((pre)?processor|video_preprocessor|image_processor|tokenizer|added_tokens|special_tokens_map|vocab|merges"
    r"|chat_template|sentencepiece|spiece|normalizer|\w*(tokeniz|process)\w*)[\w.-]*\.(json|txt|model|jinja|py)"
)
"""Names of files that a tokenizer, an image processor or the processor around both is read from."""


def load_processor(asset: Asset, settings: Model, config: PretrainedConfig, key: str = "model.name") -> Any:
    """The processor of a model that takes images, with a tokenizer that has padding. Raises UserError."""
    with Readable(asset.location, "processor", key):
        processor = _read(asset.location, config, settings.trust_remote_code)
    if not hasattr(processor, "image_processor"):
        raise UserError(f"{key}: {asset.asked} has no processor files for images; put preprocessor_config.json there")
    tokenizer = load_tokenizer(asset, settings, [], key)  # refuses one that is empty or knows no padding
    if settings.tokenizer:
        processor.tokenizer = tokenizer
    elif processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = tokenizer.pad_token
    return processor


def _read(location: str, config: PretrainedConfig, trust_remote_code: bool) -> Any:
    """What a processor has for videos needs torchvision; where that is missing it is left out, if that can be done."""
    try:
        return AutoProcessor.from_pretrained(location, trust_remote_code=trust_remote_code)
    except (OSError, ImportError, ValueError):
        known = PROCESSOR_MAPPING.get(type(config), None)
        if is_torchvision_available() or not known or not any("video" in name for name in known.get_attributes()):
            raise
    try:
        return images_only(known).from_pretrained(location)
    except (TypeError, ImportError) as error:
        raise ImportError(f"{known.__name__} needs what reads videos: pip install torchvision num2words") from error


def images_only(kind: Any) -> Any:
    """The same kind of processor without its part for videos."""

    def attributes(cls: Any) -> list[str]:
        return [name for name in super(made, cls).get_attributes() if "video" not in name]

    made: Any = type(kind.__name__, (kind,), {"get_attributes": classmethod(attributes)})
    return made


def processor_files(asset: Asset, settings: Model, processor: Any) -> dict[str, bytes]:
    """The processor as files by name, the model's own as they are: saving a loaded one can change or lose parts.

    So a checkpoint's are those of the model it began with, and the same in every life.
    """
    folder = Path(asset.location)
    if settings.tokenizer is None and (folder / TOKENIZER_LIST).is_file():
        return listed_tokenizer(asset)
    if settings.tokenizer is None:
        names = [path.name for path in folder.iterdir() if path.is_file() and _OF_A_PROCESSOR.fullmatch(path.name)]
        files = {name: (folder / name).read_bytes() for name in sorted(names)}
    else:
        with tempfile.TemporaryDirectory() as temporary:
            processor.save_pretrained(temporary)
            files = {path.name: path.read_bytes() for path in sorted(Path(temporary).iterdir()) if path.is_file()}
    return files | {TOKENIZER_LIST: json.dumps(sorted(files)).encode()}
