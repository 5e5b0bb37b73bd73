"""What an unknown key was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from forge.config.fields import keys, leaf_keys
from forge.config.wording import either

OTHER_TOOLS: dict[str, str] = {
    "adam_beta1": "train.adam_betas",
    "adam_beta2": "train.adam_betas",
    "amp": "train.precision",
    "base_model": "model.name",
    "best_metric": "evaluate.metric",
    "betas": "train.adam_betas",
    "bf16": "train.precision",
    "checkpoint_every": "checkpoint.every",
    "dataloader_num_workers": "train.num_workers",
    "dataset": "data.name",
    "dataset_config_name": "data.subset",
    "dataset_name": "data.name",
    "do_eval": "evaluate.every",
    "early_stopping": "evaluate.patience",
    "early_stopping_patience": "evaluate.patience",
    "eps": "train.adam_epsilon",
    "eval_batch_size": "evaluate.batch_size",
    "eval_file": "data.validation",
    "eval_steps": "evaluate.every",
    "fp16": "train.precision",
    "gradient_clip_val": "train.max_grad_norm",
    "gradient_clipping": "train.max_grad_norm",
    "kd_alpha": "alpha",
    "label_column": "data.columns.label",
    "label_names": "data.labels",
    "label_smoothing_factor": "train.label_smoothing",
    "load_best_model_at_end": "evaluate.metric",
    "logging_steps": "log.every",
    "lr": "train.learning_rate",
    "lr_scheduler": "train.schedule",
    "lr_scheduler_type": "train.schedule",
    "max_epochs": "train.epochs",
    "max_eval_samples": "evaluate.max_examples",
    "max_seq_len": "data.max_length",
    "max_seq_length": "data.max_length",
    "max_train_samples": "data.max_train_examples",
    "metric_for_best_model": "evaluate.metric",
    "mixed_precision": "train.precision",
    "model_name": "model.name",
    "model_name_or_path": "model.name",
    "n_epochs": "train.epochs",
    "num_epochs": "train.epochs",
    "num_train_epochs": "train.epochs",
    "num_train_steps": "train.max_steps",
    "output_dir": "run.dir",
    "per_device_eval_batch_size": "evaluate.batch_size",
    "per_device_train_batch_size": "train.micro_batch_size",
    "per_gpu_train_batch_size": "train.micro_batch_size",
    "pretrained_model_name_or_path": "model.name",
    "report_to": "log.sinks",
    "save_every": "checkpoint.every",
    "save_steps": "checkpoint.every",
    "save_total_limit": "checkpoint.keep",
    "scheduler": "train.schedule",
    "task_name": "task",
    "test_file": "data.test",
    "text_column": "data.columns.text",
    "tokenizer_name": "model.tokenizer",
    "torch_compile": "train.compile",
    "train_batch_size": "train.batch_size",
    "train_file": "data.train",
    "validation_file": "data.validation",
    "wandb": "log.sinks",
    "wd": "train.weight_decay",
}
"""Names from Hugging Face and other tools, and what the same thing is called here."""

ADVICE: dict[str, str] = {
    "gradient_accumulation_steps": "set train.batch_size (per step, over all devices) and train.micro_batch_size "
    "(per forward); accumulation follows",
    "overwrite_output_dir": "not needed: the same settings continue the same run, other settings get another directory",
    "resume_from_checkpoint": "not needed: starting a run again continues it",
    "warmup": "set train.warmup_steps (a count of steps) or train.warmup_ratio (a share of all steps)",
}
"""Names whose meaning is not one key here."""


def suggest_key(path: tuple[str, ...]) -> str:
    """A hint for an unknown key, empty if nothing comes near: a sibling, a key elsewhere, another tool's name."""
    name, section = path[-1].replace("-", "_"), path[:-1]
    siblings = [key.path[-1] for key in keys().values() if key.path[:-1] == section]
    advice = ADVICE.get(name.lower(), "")
    if advice:
        return advice
    close = nearest(name, siblings)
    if close:
        return f"did you mean {'.'.join((*section, close))}?"
    elsewhere = [key for key in leaf_keys().values() if key.path[-1] == name]
    if elsewhere:
        places = either([f"`{'.'.join(key.path[:-1])}`" if key.path[1:] else "the top level" for key in elsewhere])
        return f"it belongs under {places}: {either([key.dotted for key in elsewhere])}"
    if name.lower() in OTHER_TOOLS:
        return f"here it is called {OTHER_TOOLS[name.lower()]}"
    return _near_anywhere(name, section)


def _near_anywhere(name: str, section: tuple[str, ...]) -> str:
    known = nearest(name, [key.path[-1] for key in leaf_keys().values()])
    if known:
        found = [key.dotted for key in leaf_keys().values() if key.path[-1] == known]
        return f"did you mean {either(found)}?"
    siblings = [key.path[-1] for key in keys().values() if key.path[:-1] == section]
    return f"allowed in {'.'.join(section) or 'a configuration'}: {', '.join(siblings)}" if siblings else ""


def nearest(word: str, words: Iterable[str]) -> str:
    """The word that is spelled most alike, empty if none is."""
    close = difflib.get_close_matches(word, list(words), 1, 0.7)
    return close[0] if close else ""
