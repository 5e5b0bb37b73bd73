"""Settings on the command line."""

# ruff: noqa: E501 - a row is a case and what it is told, side by side

from __future__ import annotations

import pytest

from forge.config import resolve


def at(config, dotted: str):
    value = config.as_dict()
    for step in dotted.split("."):
        value = value[step]
    return value


@pytest.mark.parametrize(
    ("tokens", "key", "value"),
    [
        (["--max_steps", "10"], "train.max_steps", 10),
        (["--max-steps=10"], "train.max_steps", 10),
        (["max-steps=10"], "train.max_steps", 10),
        (["--train.max-steps", "10"], "train.max_steps", 10),
        (["train.learning_rate=2e-5"], "train.learning_rate", 2e-5),
        (["--train.learning_rate", "2e-5"], "train.learning_rate", 2e-5),
        (["columns.text_pair=b"], "data.columns.text_pair", "b"),
        (["--sinks", "[wandb, mlflow]"], "log.sinks", ["wandb", "mlflow"]),
        (["data.validation={m: f}"], "data.validation", {"m": "f"}),
        (["--data.validation.matched=x"], "data.validation", {"matched": "x"}),
        (["data.validation.my-split.2=x"], "data.validation", {"my-split.2": "x"}),
        (["validation.a=x", "validation.b=y"], "data.validation", {"a": "x", "b": "y"}),
        (["--compile"], "train.compile", True),
        (["--compile", "false"], "train.compile", False),
        (["--compile", "max_steps=3"], "train.max_steps", 3),
        (["--compile", "--seed", "3"], "seed", 3),
        (["--max_steps", "null"], "train.max_steps", None),
        (["--max_steps="], "train.max_steps", None),
        (["data.train=a=b.csv"], "data.train", "a=b.csv"),
        (["--data.train", "a=b.csv"], "data.train", "a=b.csv"),
        (["data.name='1e-5'"], "data.name", "1e-5"),
        (["data.name=no"], "data.name", "no"),
        (["data.test=*.csv"], "data.test", "*.csv"),
        (["model={revision: abc}"], "model.revision", "abc"),
        (["seed=7"], "seed", 7),
        (["train={epochs: 2}", "max_steps=4"], "train.epochs", 2.0),
        (["train={epochs: 2}", "max_steps=4"], "train.max_steps", 4),
    ],
)
def test_settings(valid, tokens, key, value):
    assert at(resolve(valid(), tokens), key) == value


def test_the_command_line_wins_and_is_remembered(valid):
    config = resolve(valid("train: {max_steps: 5}\n"), ["--max-steps", "10"])
    assert config.settings.train.max_steps == 10
    assert str(config.origins["train.max_steps"]) == "command line: --max-steps 10"
    assert [str(turn.origin) for turn in config.history["train.max_steps"]] == [
        "x.yaml:4:20",
        "command line: --max-steps 10",
    ]


def test_directives_work(valid):
    config = resolve(
        valid("log: {sinks: [wandb]}\ntrain: {max_steps: 5}\n"), ["sinks=!append [mlflow]", "max_steps=!unset"]
    )
    assert config.settings.log.sinks == ["wandb", "mlflow"]
    assert config.settings.train.max_steps is None


def test_free_maps_merge_with_the_file(valid):
    config = resolve(valid(), ["data.test.b=y"])
    assert config.settings.data.test == {"b": "y"}
    text = "task: classification\nmodel: {name: m}\ndata: {test: {a: x}}\n"
    path = valid()
    path.write_text(text)
    assert resolve(path, ["data.test.b=y"]).settings.data.test == {"a": "x", "b": "y"}
    assert resolve(path, ["data.test=!replace {b: y}"]).settings.data.test == {"b": "y"}


@pytest.mark.parametrize(
    ("tokens", "lines"),
    [
        (["--learning_rat", "1"], ['command line: --learning_rat 1  there is no setting "learning_rat"; did you mean train.learning_rate?']),
        (["train.lr=1"], ['command line: train.lr=1  there is no setting "train.lr"; here it is called train.learning_rate']),
        (["--lr", "1"], ['command line: --lr 1  there is no setting "lr"; here it is called train.learning_rate']),
        (["train.every=1"], ['command line: train.every=1  there is no setting "train.every"; it belongs under `evaluate`, `checkpoint` or `log`: evaluate.every, checkpoint.every or log.every']),
        (["--every", "1"], ['command line: --every 1  "every" could be evaluate.every, checkpoint.every or log.every; write the full name']),
        (["--max_steps", "-1"], ["command line: --max_steps -1  train.max_steps must be at least 1, got -1"]),
        (["--max_steps"], ["command line: --max_steps  train.max_steps needs a value"]),
        (["--max_steps", "--seed=2"], ["command line: --max_steps  train.max_steps needs a value"]),
        (["foo"], ['command line  unexpected argument "foo"; settings are written key=value or --key value']),
        (["-x"], ['command line  unexpected argument "-x"; settings are written key=value or --key value']),
        (["=3"], ['command line  unexpected argument "=3"; settings are written key=value or --key value']),
        (["--"], ['command line  unexpected argument "--"; settings are written key=value or --key value']),
        ([""], ['command line  unexpected argument ""; settings are written key=value or --key value']),
        (["---seed=2"], ['command line  unexpected argument "---seed=2"; settings are written key=value or --key value']),
        (["distill.forward_kll.weight=1"], ['command line: distill.forward_kll.weight=1  there is no setting "distill.forward_kll.weight"; did you mean distill.forward_kl.weight?']),
        (["--train", "x"], ["command line: --train x  train is a section, not a value; did you mean data.train?"]),
        (["log=3"], ["command line: log=3  log is a section, not a value; set one of its keys, as in log.every=…"]),
        (["extends=a.yaml"], ["command line: extends=a.yaml  extends works only in a file"]),
        (["seed=2", "--seed", "3"], ["command line: --seed 3  seed is set twice, first by seed=2"]),
        (["max_steps=2", "--train.max-steps=3"], ["command line: --train.max-steps=3  train.max_steps is set twice, first by max_steps=2"]),
        (["train={max_steps: 2}", "max_steps=3"], ["command line: max_steps=3  train.max_steps is set twice, first by train={max_steps: 2}"]),
        (["data.test=a", "data.test.b=c"], ["command line: data.test.b=c  data.test.b is set twice, first by data.test=a"]),
        (["train={bogus: 2}"], ["command line: train={bogus: 2}  train.bogus is not a setting; allowed in train: "]),
        (["seed=[1"], ["command line: seed=[1  not valid YAML: expected ',' or ']', but got '<stream end>' (while parsing a flow sequence)"]),
        (["seed=!append [1]"], ["command line: seed=!append [1]  !append has nothing to act on: no parent sets seed"]),
        (["compile=on"], ['command line: compile=on  train.compile must be true or false, got text "on"; write true']),
        (["data.name=a\nb", "seed=x\ny"], ['command line: seed=x\\ny  seed must be a whole number, got text "x\\ny"']),
        (["data.name=\udcff"], ["command line: data.name=\\udcff  half of a surrogate pair is not a character"]),
        (["zz=1", "qq=2"], ["command line: zz=1  there is no setting", "command line: qq=2  there is no setting"]),
    ],
)  # fmt: skip
def test_errors(valid, errors, tokens, lines):
    found = errors(valid(), *tokens)
    assert len(found) == len(lines)
    for line, start in zip(found, lines, strict=True):
        assert line.startswith(start)


def test_problems_of_file_and_command_line_come_together(valid, errors):
    assert errors(valid("train: {max_steps: 0}\n"), "bogus=1", "--seed", "-1") == [
        'command line: bogus=1  there is no setting "bogus"; allowed in a configuration: task, alpha, seed, assets, '
        "data, model, teacher, distill, rl, glyphs, train, generate, evaluate, checkpoint, log, run",
        "command line: --seed -1  seed must be at least 0, got -1",
        "x.yaml:4:20  train.max_steps must be at least 1, got 0",
    ]
