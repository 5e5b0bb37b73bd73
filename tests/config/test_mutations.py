"""Five hundred seeded accidents to the shipped configurations: each resolves or ends in plain error lines."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from forge.config import ResolvedConfig, resolve
from forge.core.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "configs"
MUTATIONS = 500

FIXTURES = {
    "_base.yaml": """\
# The data of every run below.
task: classification
data:
  name: nyu-mll/multi_nli
  train: train
  validation: {matched: validation_matched, mismatched: validation_mismatched}
  columns: {text: premise, text_pair: hypothesis}
  labels: [entailment, neutral, contradiction]
  max_length: 128
train: &shared
  learning_rate: 3e-5
  batch_size: 32
""",
    "a/_model.yaml": "extends: ../_base.yaml\nmodel:\n  name: distilbert-base-uncased\n  dropout: 0.1\n",
    "a/00_sft.yaml": """\
extends: [_model.yaml]
alpha: 0.0
train:
  max_steps: 100
  adam_betas: [0.9, 0.98]
evaluate: {every: 50}
log: {sinks: []}
run:
  dir: "${env:FORGE_RUNS,runs}"
""",
    "a/01_more.yaml": """\
extends: 00_sft.yaml
data:
  labels: !append [other]
  validation: !replace {all: validation}
  max_length: !unset
""",
}

VALUES = [
    "0",
    "-1",
    "1e-5",
    "abc",
    "null",
    "[]",
    "{}",
    "[1, [2]]",
    "{a: {b: c}}",
    "true",
    '"',
    "'x'",
    "!unset",
    "!append [a]",
    "!!python/object:os.system x",
    "*shared",
    "&a b",
    "| x",
    ".nan",
    "9" * 40,
    "${env:HOME}",
    "${env:X_TOKEN}",
    "a: b",
]
LINES = [
    "bogus: 1",
    "learning_rate: 1",
    "  lr: 3",
    "- x",
    "---",
    "...",
    "%YAML 1.1",
    "<<: *shared",
    "? a",
    ": b",
    "extends: nowhere.yaml",
    "extends: ../../../etc/passwd",
    "alpha: 0.5",
    "\tx: 1",
    "]",
    "}",
    "a: !foo b",
    "#",
    "rl: {}",
]

Mutation = Callable[[str, random.Random], "str | bytes"]


def on_a_line(change: Callable[[str, random.Random], str | list[str]]) -> Mutation:
    def mutate(text: str, rng: random.Random) -> str:
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        new = change(lines[at], rng)
        lines[at : at + 1] = [new] if isinstance(new, str) else new
        return "\n".join(lines)

    return mutate


def at_a_place(change: Callable[[bytes, int, random.Random], bytes]) -> Mutation:
    return lambda text, rng: change(text.encode(), rng.randrange(len(text.encode()) + 1), rng)


def swap_values(text: str, rng: random.Random) -> str:
    values = list(re.finditer(r"(?<=: )\S.*", text))
    if len(values) < 2:
        return text
    first, second = sorted(rng.sample(values, 2), key=lambda match: match.start())
    return text[: first.start()] + second[0] + text[first.end() : second.start()] + first[0] + text[second.end() :]


def rename_key(line: str, rng: random.Random) -> str:
    letters = list(line)
    where = [index for index, letter in enumerate(letters) if letter.isalpha()]
    if where:
        letters[rng.choice(where)] = rng.choice("abcxyz_-. 1")
    return "".join(letters)


def random_nesting(raw: bytes, at: int, rng: random.Random) -> bytes:
    return raw[:at] + rng.choice([b"[", b"{", b"[[", b"{a: ", b"- "]) * rng.choice([1, 2, 60, 3000]) + raw[at:]


MUTATIONS_BY_NAME: dict[str, Mutation] = {
    "delete a line": on_a_line(lambda line, rng: []),
    "duplicate a line": on_a_line(lambda line, rng: [line, line]),
    "rename a key": on_a_line(rename_key),
    "another value": on_a_line(lambda line, rng: line.split(":")[0] + ": " + rng.choice(VALUES)),
    "unknown line": on_a_line(lambda line, rng: [line, rng.choice(LINES)]),
    "indent": on_a_line(lambda line, rng: " " * rng.randrange(1, 9) + line),
    "dedent": on_a_line(lambda line, rng: line[rng.randrange(4) :]),
    "tab": on_a_line(lambda line, rng: "\t" + line.lstrip() if rng.random() < 0.5 else line.replace(" ", "\t", 1)),
    "comment out": on_a_line(lambda line, rng: "#" + line),
    "truncate": at_a_place(lambda raw, at, rng: raw[:at]),
    "random byte": at_a_place(lambda raw, at, rng: raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]),
    "random bytes": at_a_place(lambda raw, at, rng: raw[:at] + rng.randbytes(8) + raw[at:]),
    "drop a byte": at_a_place(lambda raw, at, rng: raw[:at] + raw[at + 1 :]),
    "nesting": at_a_place(random_nesting),
    "swap values": swap_values,
    "twice the file": lambda text, rng: text + text,
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped configurations and the fixtures, in one root."""
    root = tmp_path_factory.mktemp("mutations") / "configs"
    for name, text in FIXTURES.items():
        path = root / "fixtures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    if SHIPPED.is_dir():
        shutil.copytree(SHIPPED, root / "shipped")
    return root


def targets(root: Path) -> list[tuple[Path, Path]]:
    """(file to damage, file to resolve): every file by itself, and every parent through each of its children."""
    pairs: list[tuple[Path, Path]] = []
    for entry in sorted(root.rglob("*.yaml")):
        try:
            chain = resolve(entry).chain
        except ConfigError:
            chain = ()
        pairs += [(file, entry) for file in {entry, *chain}]
    return sorted(pairs)


def check_lines(error: ConfigError) -> None:
    lines = str(error).split("\n")
    assert 1 <= len(lines) <= 200
    assert len(lines) == len(error.problems)
    for line in lines:
        where = re.match(r"(.+?):(\d+):(\d+)  \S", line)
        assert where, f"no place: {line}"
        assert Path(where[1]).is_file(), line
        assert int(where[2]) >= 1
        assert int(where[3]) >= 1
        assert line.isprintable()
        assert "Traceback" not in line


def test_the_undamaged_fixtures_resolve(tree):
    assert resolve(tree / "fixtures/a/01_more.yaml").settings.data.labels == [
        "entailment",
        "neutral",
        "contradiction",
        "other",
    ]


def test_mutations(tree, monkeypatch):
    monkeypatch.chdir(tree.parent)
    rng = random.Random(20)
    pairs, names = targets(tree), list(MUTATIONS_BY_NAME)
    refused = 0
    for number in range(MUTATIONS):
        name = names[number % len(names)]
        file, entry = rng.choice(pairs)
        before = file.read_bytes()
        after = MUTATIONS_BY_NAME[name](before.decode(), rng)
        file.write_bytes(after.encode() if isinstance(after, str) else after)
        try:
            assert isinstance(resolve(entry), ResolvedConfig)
        except ConfigError as error:
            refused += 1
            check_lines(error)
        except BaseException as error:
            pytest.fail(f"mutation {number}, {name} of {file.name}: {type(error).__name__} {error}\n{after!r}")
        finally:
            file.write_bytes(before)
    assert MUTATIONS * 0.4 < refused < MUTATIONS, "the damage is neither harmless nor always fatal"
