"""What the files of a model directory may name: files of that directory, and as weights safetensors alone."""

from __future__ import annotations

from pathlib import Path

from transformers import PretrainedConfig

from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.core.io import read_json
from forge.core.manifest import RESUME_ONLY, TOKENIZER_LIST, WEIGHTS_FILE

CONFIG_FILE = "config.json"
WEIGHTS_INDEX = "model.safetensors.index.json"
MOST_LIST_BYTES = 2**16
NOT_OF_A_TOKENIZER = RESUME_ONLY | {CONFIG_FILE, WEIGHTS_FILE, WEIGHTS_INDEX}


def listed_tokenizer(asset: Asset) -> dict[str, bytes]:
    """The files of a tokenizer that a checkpoint lists, and the list. Raises UserError for a list of anything else."""
    record = Path(asset.location) / TOKENIZER_LIST
    try:
        names = read_json(record, MOST_LIST_BYTES)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("it is not a list of file names")
        if wrong := sorted(NOT_OF_A_TOKENIZER.intersection(names)):
            raise ValueError(f"it names {wrong[0]!r}, which is not a part of a tokenizer")
        return {name: _own_file(asset, name).read_bytes() for name in [*names, TOKENIZER_LIST]}
    except (OSError, ValueError) as error:
        raise UserError(f"{record}  cannot be used: {error}; delete it, and the tokenizer is saved anew") from error


def refuse_other_weights(asset: Asset, config: PretrainedConfig) -> None:
    """Raise ValueError where a configuration or an index names weights that are a pickle, or not of this directory.

    transformers would read both.
    """
    if getattr(config, "transformers_weights", None) is not None:
        raise ValueError(f"{CONFIG_FILE} names them in transformers_weights; call them {WEIGHTS_FILE}, and delete that")
    folder = Path(asset.location)
    if (folder / WEIGHTS_FILE).is_file() or not (folder / WEIGHTS_INDEX).is_file():
        return
    index = read_json(folder / WEIGHTS_INDEX)
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise ValueError(f"{WEIGHTS_INDEX} does not say which file holds which weight")
    for name in sorted(set(shards.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"{WEIGHTS_INDEX} names {name[:80]!r}, which is no safetensors file of that directory")


def _own_file(asset: Asset, name: str) -> Path:
    """The file of this name in a model's directory. Raises ValueError for one that is not in it."""
    folder = Path(asset.location)
    # A snapshot of the hub's cache links to files beside it, in the cache's folder of the same model.
    home = folder.parents[1] if asset.source in {"cache", "hub"} else folder
    path = folder / name
    if Path(name).name != name or not path.is_file() or not path.resolve().is_relative_to(home.resolve()):
        raise ValueError(f"it names {name[:80]!r}, which is not a file of that directory")
    return path
