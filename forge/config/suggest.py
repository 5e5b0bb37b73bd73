"""What an unknown key was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from forge.config.fields import keys, leaf_keys, names_in
from forge.config.wording import either

OTHER_TOOLS: dict[str, str] = {
    "adam_beta1": "train.adam_betas",
    "adam_beta2": "train.adam_betas",
    "alpha_ce": "distill.forward_kl.weight",
    "alpha_cos": "distill.cosine.weight",
    "alpha_kd": "alpha",
    "alpha_mse": "distill.logit_mse.weight",
    "amp": "train.precision",
    "base_model": "model.name",
    "best_metric": "evaluate.metric",
    "betas": "train.adam_betas",
    "bf16": "train.precision",
    "cache_logits": "distill.cache.mode",
    "cache_teacher_logits": "distill.cache.mode",
    "average_checkpoints": "checkpoint.average",
    "avg_checkpoints": "checkpoint.average",
    "checkpoint_every": "checkpoint.every",
    "dataloader_num_workers": "train.num_workers",
    "dataset": "data.name",
    "dataset_config_name": "data.subset",
    "dataset_name": "data.name",
    "distil_weight": "alpha",
    "distill_alpha": "alpha",
    "distill_temperature": "distill.forward_kl.temperature",
    "distillation_alpha": "alpha",
    "distillation_temperature": "distill.forward_kl.temperature",
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
    "init_layers": "model.keep_layers",
    "is_caching_logits": "distill.cache.mode",
    "kd_alpha": "alpha",
    "kd_loss_weight": "distill.forward_kl.weight",
    "kd_ratio": "alpha",
    "kd_t": "distill.forward_kl.temperature",
    "kd_temperature": "distill.forward_kl.temperature",
    "kd_weight": "distill.forward_kl.weight",
    "kl_weight": "distill.forward_kl.weight",
    "label_column": "data.columns.label",
    "label_names": "data.labels",
    "label_smoothing_factor": "train.label_smoothing",
    "lambda_kd": "alpha",
    "lambda_kl": "distill.forward_kl.weight",
    "layer_map": "distill.layers",
    "layer_mapping": "distill.layers",
    "layer_mappings": "distill.layers",
    "layer_pairs": "distill.layers",
    "layers_to_copy": "model.keep_layers",
    "layers_to_keep": "model.keep_layers",
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
    "proj": "distill.hidden_mse.projection",
    "projector": "distill.hidden_mse.projection",
    "report_to": "log.sinks",
    "save_every": "checkpoint.every",
    "save_steps": "checkpoint.every",
    "save_total_limit": "checkpoint.keep",
    "scheduler": "train.schedule",
    "skew_alpha": "distill.skew_kl.skew",
    "softmax_temperature": "distill.forward_kl.temperature",
    "student_model": "model.name",
    "student_model_name": "model.name",
    "student_model_name_or_path": "model.name",
    "student_name": "model.name",
    "student_name_or_path": "model.name",
    "student_pretrained_weights": "model.name",
    "t": "distill.forward_kl.temperature",
    "task_name": "task",
    "tau": "distill.forward_kl.temperature",
    "teacher_checkpoint": "teacher.name",
    "teacher_ckpt": "teacher.name",
    "teacher_dir": "teacher.name",
    "teacher_model": "teacher.name",
    "teacher_model_name": "teacher.name",
    "teacher_model_name_or_path": "teacher.name",
    "teacher_model_path": "teacher.name",
    "teacher_model_revision": "teacher.revision",
    "teacher_name": "teacher.name",
    "teacher_name_or_path": "teacher.name",
    "teacher_path": "teacher.name",
    "teacher_revision": "teacher.revision",
    "teacher_tokenizer": "teacher.tokenizer",
    "teacher_tokenizer_name_or_path": "teacher.tokenizer",
    "temp": "distill.forward_kl.temperature",
    "temperature_kd": "distill.forward_kl.temperature",
    "test_file": "data.test",
    "text_column": "data.columns.text",
    "tokenizer_name": "model.tokenizer",
    "topk": "distill.topk_kl.k",
    "torch_compile": "train.compile",
    "train_batch_size": "train.batch_size",
    "train_file": "data.train",
    "uld_distillation_weight": "distill.uld.weight",
    "uld_student_temperature": "distill.uld.temperature",
    "use_projector": "distill.hidden_mse.projection",
    "use_uld_loss": "distill.uld.weight",
    "validation_file": "data.validation",
    "wandb": "log.sinks",
    "wd": "train.weight_decay",
}
"""Names from Hugging Face and other tools, and what the same thing is called here."""

_LOSS = "give a loss of `distill` a weight, for example `distill: {forward_kl: {weight: 1.0}}`"
_ON = f"set alpha above 0, name a model in teacher.name, and {_LOSS}"
_HARD = "set alpha: the labels weigh 1 - alpha, the teacher alpha"
_PAIRS = "set distill.layers to pairs [student layer, teacher layer], and give a loss below `distill` a weight"

ADVICE: dict[str, str] = {
    "alpha_mlm": _HARD,
    "alpha_squad": _HARD,
    "attention_loss": _LOSS.replace("forward_kl", "attention_kl"),
    "criterion": _LOSS,
    "distil_loss": _LOSS,
    "distill_loss": _LOSS,
    "distillation": _ON,
    "distillation_config": _ON,
    "distillation_loss": _LOSS,
    "gradient_accumulation_steps": "set train.batch_size (per step, over all devices) and train.micro_batch_size "
    "(per forward); accumulation follows",
    "hard_label_weight": _HARD,
    "hidden_loss": _LOSS.replace("forward_kl", "hidden_mse"),
    "intermediate_matches": _PAIRS,
    "kd": _ON,
    "kd_loss": _LOSS,
    "kd_loss_type": _LOSS,
    "knowledge_distillation": _ON,
    "layer_s": _PAIRS,
    "layer_t": _PAIRS,
    "loss_functions": _LOSS,
    "overwrite_output_dir": "not needed: the same settings continue the same run, other settings get another directory",
    "resume_from_checkpoint": "not needed: starting a run again continues it",
    "student": "the student is the `model` section: model.name",
    "warmup": "set train.warmup_steps (a count of steps) or train.warmup_ratio (a share of all steps)",
}
"""Names whose meaning is not one key here."""


def suggest_key(path: tuple[str, ...]) -> str:
    """A hint for an unknown key, empty if nothing comes near: another tool's name, a sibling, a key elsewhere."""
    name, section = path[-1].replace("-", "_"), path[:-1]
    siblings = names_in(section)
    advice = ADVICE.get(name.lower(), "")
    if advice:
        return advice
    if name.lower() in OTHER_TOOLS:
        return f"here it is called {_called_here(OTHER_TOOLS[name.lower()], section, siblings)}"
    close = nearest(name, siblings)
    if close:
        return f"did you mean {'.'.join((*section, close))}?"
    if meant := _in_section_spelled_alike(path):
        return f"did you mean {meant}?"
    elsewhere = [key for key in leaf_keys().values() if key.path[-1] == name]
    if elsewhere:
        places = either([f"`{'.'.join(key.path[:-1])}`" if key.path[1:] else "the top level" for key in elsewhere])
        return f"it belongs under {places}: {either([key.dotted for key in elsewhere])}"
    return _near_anywhere(name, section)


def _called_here(key: str, section: tuple[str, ...], siblings: Iterable[str]) -> str:
    """Within a loss, its own key of that name; within `teacher`, the teacher's instead of the student's."""
    top, last = key.partition(".")[0], key.rpartition(".")[2]
    fits = last in siblings and section and (section[0] == top or (section[0], top) == ("teacher", "model"))
    return ".".join((*section, last)) if fits else key


def _in_section_spelled_alike(path: tuple[str, ...]) -> str:
    """The key that was meant where a section around it is misspelt; empty if that gives no key."""
    known = {key.path[:depth] for key in keys().values() for depth in range(1, len(key.path) + 1)}
    for depth in range(1, len(path)):
        if path[:depth] not in known:
            around = path[: depth - 1]
            close = nearest(path[depth - 1], [key[-1] for key in known if len(key) == depth and key[:-1] == around])
            meant = (*around, close, *path[depth:])
            return ".".join(meant) if meant in known else ""
    return ""


def _near_anywhere(name: str, section: tuple[str, ...]) -> str:
    known = nearest(name, [key.path[-1] for key in leaf_keys().values()])
    if known:
        found = [key.dotted for key in leaf_keys().values() if key.path[-1] == known]
        return f"did you mean {either(found)}?"
    siblings = names_in(section)
    return f"allowed in {'.'.join(section) or 'a configuration'}: {', '.join(siblings)}" if siblings else ""


def nearest(word: str, words: Iterable[str]) -> str:
    """The word that is spelled most alike, empty if none is."""
    close = difflib.get_close_matches(word, list(words), 1, 0.7)
    return close[0] if close else ""
