"""What a wrong setting is told: the place, plain words, and what to write instead; all of it in one pass."""

# ruff: noqa: E501 - a row is a case and what it is told, side by side

from __future__ import annotations

import pytest

from forge.config.fields import leaf_keys
from forge.config.suggest import ADVICE, OTHER_TOOLS, suggest_key

WRONG = [
    ("train: {max_steps: 0}", "4:20  train.max_steps must be at least 1, got 0"),
    ('train: {learning_rate: "abc"}', '4:24  train.learning_rate must be a number, got text "abc"'),
    ("train: {learning_rate: 0}", "4:24  train.learning_rate must be more than 0, got 0"),
    ("train: {learning_rate: 11}", "4:24  train.learning_rate must be at most 10, got 11"),
    ("train: {weight_decay: 1.0}", "4:23  train.weight_decay must be less than 1, got 1.0"),
    ("train: {max_steps: true}", "4:20  train.max_steps must be a whole number or null, got true"),
    ("train: {max_steps: 1e3}", "4:20  train.max_steps must be a whole number or null, got 1000.0; write 1000"),
    ("train: {batch_size: null}", "4:21  train.batch_size must be a whole number, got null"),
    ("train: {batch_size: 1_000}", '4:21  train.batch_size must be a whole number, got text "1_000"; write 1000, without quotes or separators'),
    ("train: {epochs: true}", "4:17  train.epochs must be a number, got true"),
    ("train: {epochs: .inf}", "4:17  train.epochs must be a finite number, got inf"),
    ("train: {epochs: .nan}", "4:17  train.epochs must be a finite number, got nan"),
    ("train: {compile: no}", '4:18  train.compile must be true or false, got text "no"; write false'),
    ("train: {compile: 1}", "4:18  train.compile must be true or false, got 1"),
    ("train: {precision: bf61}", '4:20  train.precision must be one of auto, fp32, bf16 or fp16, got text "bf61"; did you mean bf16?'),
    ("train: {precision: 16}", "4:20  train.precision must be one of auto, fp32, bf16 or fp16, got 16"),
    ("train: {adam_betas: [0.9]}", "4:21  train.adam_betas must be a list of 2 numbers, got a list of 1"),
    ("train: {adam_betas: [0.9, 0.9, 0.9]}", "4:21  train.adam_betas must be a list of 2 numbers, got a list of 3"),
    ("train: {adam_betas: 0.9}", "4:21  train.adam_betas must be a list of 2 numbers, got 0.9"),
    ("train: {adam_betas: [0.9, 1]}", "4:27  train.adam_betas[1] must be less than 1, got 1"),
    ('train: {adam_betas: [0.9, "0.5"]}', '4:27  train.adam_betas[1] must be a number, got text "0.5"; write 0.5, without quotes or separators'),
    ("log: {sinks: [wandbb]}", '4:15  log.sinks[0] must be one of tensorboard, trackio, wandb or mlflow, got text "wandbb"; did you mean wandb?'),
    ("log: {sinks: wandb}", '4:14  log.sinks must be a list of words (tensorboard, trackio, wandb or mlflow), got text "wandb"'),
    ("log: 3", "4:6  log must be a section, got 3"),
    ("log:", "4:5  log must be a section, got null; leave out a section without keys"),
    ("run: {dir: 3}", '4:12  run.dir must be text, got 3; put it in quotes: "3"'),
    ("run: {dir: ''}", "4:12  run.dir must not be empty"),
    ("run: {dir: [a]}", "4:12  run.dir must be text, got a list"),
    (
        "alpha: 0.5\ndistill: {jsd: {weight: 1}}",
        "4:8  alpha = 0.5 turns distillation on, but teacher.name is not set; name a trained model or a Forge run, "
        "or set alpha: 0.0",
    ),
    ("alpha: 1.5", "4:8  alpha must be at most 1, got 1.5"),
    ("alpha: yes", '4:8  alpha must be a number, got text "yes"'),
    ("alhpa: 0.5", "4:1  alhpa is not a setting; did you mean alpha?"),
    ("train: {learning_rte: 1}", "4:9  train.learning_rte is not a setting; did you mean train.learning_rate?"),
    ("learning_rate: 1", "4:1  learning_rate is not a setting; it belongs under `train`: train.learning_rate"),
    ("train: {seed: 1}", "4:9  train.seed is not a setting; it belongs under the top level or `data.embedded`: seed or data.embedded.seed"),
    ("lr: 1", "4:1  lr is not a setting; here it is called train.learning_rate"),
    ("train: {num_train_epochs: 1}", "4:9  train.num_train_epochs is not a setting; here it is called train.epochs"),
    ("gradient_accumulation_steps: 1", "4:1  gradient_accumulation_steps is not a setting; set train.batch_size (per step, over all devices) and train.micro_batch_size (per forward); accumulation follows"),
    ("learnin_rate: 1", "4:1  learnin_rate is not a setting; did you mean train.learning_rate?"),
    ('"a\\nb": 1', "4:1  a\\nb is not a setting; allowed in a configuration: task, alpha, seed, "),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), WRONG)
def test_wrong_settings(valid, errors, text, line):
    (found,) = errors(valid(text + "\n"))
    if line.endswith(", "):
        assert found.startswith(f"x.yaml:{line}")
    else:
        assert found == f"x.yaml:{line}"


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        ("validation: 3", ['2:20  data.validation must be text, a map of names to text or null, got 3; put it in quotes: "3"']),
        ("validation: {m: 3, n: null}", ['2:24  data.validation.m must be text, got 3; put it in quotes: "3"', "2:30  data.validation.n must be text, got null"]),
        ("labels: [a]", ["2:16  data.labels needs at least 2 entries, got 1"]),
        ("labels: [a, 1]", ['2:20  data.labels[1] must be text, got 1; put it in quotes: "1"']),
        ("labels: [a, a]", ["2:16  data.labels names a label twice"]),
        ("columns: {txt: a}", ["2:18  data.columns.txt is not a setting; did you mean data.columns.text?"]),
    ],
)  # fmt: skip
def test_wrong_data(write, errors, data, lines):
    path = write("x.yaml", f"task: classification\ndata: {{{data}}}\nmodel: {{name: m}}\n")
    assert errors(path) == [f"x.yaml:{line}" for line in lines]


def test_integers_are_numbers_too(valid):
    from forge.config import resolve

    assert resolve(valid("train: {epochs: 3}\nalpha: 0\n")).settings.train.epochs == 3.0


def test_all_problems_in_one_pass_from_top_to_bottom(write, errors):
    write("_base.yaml", "train: {max_steps: 0}\nmodel: {nam: x}\n")
    path = write(
        "x.yaml", "extends: _base.yaml\nlog: {every: 0}\ntask: clasification\nevaluate: {every: x}\nbogus_thing: 1\n"
    )
    assert errors(path, "train.epochs=0") == [
        "x.yaml:1:1  data is required, and no file sets it",
        "x.yaml:1:1  model.name is required (text), and no file sets it",
        "x.yaml:2:14  log.every must be at least 1, got 0",
        'x.yaml:3:7  task must be one of classification, translation or ocr, got text "clasification"; did you mean classification?',
        'x.yaml:4:19  evaluate.every must be a whole number or null, got text "x"',
        "x.yaml:5:1  bogus_thing is not a setting; allowed in a configuration: "
        "task, alpha, seed, assets, data, model, teacher, distill, rl, glyphs, train, generate, evaluate, checkpoint, log, run",
        "_base.yaml:1:20  train.max_steps must be at least 1, got 0",
        "_base.yaml:2:9  model.nam is not a setting; did you mean model.name?",
        "command line: train.epochs=0  train.epochs must be more than 0, got 0",
    ]


def test_a_missing_key_points_to_its_section(write, errors):
    path = write("x.yaml", "task: classification\ndata: {}\nmodel:\n  init: random\n")
    assert errors(path) == ["x.yaml:3:1  model.name is required (text), and no file sets it"]


def test_a_validator_points_to_the_key_that_somebody_set(valid, errors):
    path = valid("")
    path.write_text("task: classification\ndata: {}\nmodel: {name: m, trust_remote_code: true}\n")
    (line,) = errors(path)
    assert line.startswith("x.yaml:3:37  model.trust_remote_code needs model.revision")


def test_many_problems_are_cut(valid, errors):
    lines = errors(valid("".join(f"key{number}: 1\n" for number in range(500))))
    assert len(lines) == 101
    assert lines[-1] == "x.yaml:104:1  400 more problems follow"


def test_long_and_hostile_text_stays_on_one_line(valid, errors):
    (line,) = errors(valid('train: {epochs: "a\\nb\\u2028\\e[31m' + "x" * 1000 + '"}\n'))
    assert len(line) < 200
    assert line.isprintable()


@pytest.mark.parametrize("name", OTHER_TOOLS)
def test_other_tools_names_lead_to_keys_that_exist(name):
    assert OTHER_TOOLS[name] in leaf_keys()
    hint = suggest_key((name,))
    assert OTHER_TOOLS[name] in hint or hint.startswith("did you mean")


def test_other_tools_names_are_not_our_own():
    ours = {key.path[-1] for key in leaf_keys().values()}
    assert not ours & {*OTHER_TOOLS, *ADVICE}


def test_keys_in_advice_exist():
    import re

    named = [name for text in ADVICE.values() for name in re.findall(r"[a-z]+\.[a-z_]+", text)]
    assert named
    assert set(named) <= set(leaf_keys())


@pytest.mark.parametrize(("warmup", "steps", "warned"), [(20, 10, True), (10, 10, False), (0, 1, False)])
def test_a_warm_up_longer_than_the_run_is_a_warning(valid, warmup, steps, warned):
    from forge.config import resolve

    path = valid(f"train: {{warmup_steps: {warmup}, max_steps: {steps}}}\n")
    said = f"x.yaml:4:23  the learning rate never reaches its peak: train.warmup_steps is {warmup}, train.max_steps is {steps}"
    assert [str(line) for line in resolve(path).warnings] == [said] * warned
    assert resolve(valid(f"train: {{warmup_steps: {warmup}}}\n")).warnings == ()
