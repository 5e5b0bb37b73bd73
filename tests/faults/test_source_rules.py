"""No line of Forge runs what a file says: ruff's S rules forbid most ways, and these the ways that they leave out."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT

SOURCES = sorted((ROOT / "forge").rglob("*.py"))
CALLS = {"torch.load", "torch.hub.load", "yaml.unsafe_load", "yaml.full_load", "joblib.load", "importlib.import_module"}
ARGUMENTS = {
    ("trust_remote_code", "True"),
    ("allow_pickle", "True"),
    ("use_safetensors", "False"),
    ("weights_only", "False"),
}
BY_RUFF = {
    "pickle.load(x)": "S301",
    "pickle.loads(x)": "S301",
    "eval(x)": "S307",
    "exec(x)": "S102",
    "os.system(x)": "S605",
    "subprocess.run(x, shell=True)": "S602",
    "yaml.load(x)": "S506",
    "marshal.loads(x)": "S302",
}


def violations(source: str) -> Iterator[str]:
    """Forbidden calls by the name under which they were imported, and forbidden arguments."""
    tree = ast.parse(source)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):  # also where it is handed on and called elsewhere
            first, dot, rest = ast.unparse(node).partition(".")
            if (name := names.get(first, first) + dot + rest) in CALLS:
                yield f"{node.lineno}: {name}"
        elif isinstance(node, ast.keyword) and (node.arg, ast.unparse(node.value)) in ARGUMENTS:
            yield f"{node.value.lineno}: {node.arg}={ast.unparse(node.value)}"


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load('x', weights_only=True)",
        "import torch as t\nt.load('x')",
        "from torch import load\nload('x')",
        "def f():\n    from torch import load as read\n    return map(read, [])",
        "from torch import hub\nhub.load('x')",
        "yaml.full_load('x')",
        "Auto.from_pretrained('x', trust_remote_code=True)",
        "np.load('x', allow_pickle=True)",
        "dict(use_safetensors=False)",
    ],
)
def test_the_rule_finds_what_it_forbids(source: str) -> None:
    assert list(violations(source))


@pytest.mark.parametrize(
    "source",
    [
        "import json\njson.load(f)",
        "load('x')",
        "f(trust_remote_code=settings.trust_remote_code)",
        "f(use_safetensors=True)",
    ],
)
def test_the_rule_leaves_the_rest_alone(source: str) -> None:
    assert not list(violations(source))


def test_no_source_of_forge_breaks_it() -> None:
    found = [f"{path.relative_to(ROOT)}:{line}" for path in SOURCES for line in violations(path.read_text("utf-8"))]
    assert not found
    assert len(SOURCES) > 80
    print(f"{len(SOURCES)} sources, {len(CALLS)} calls and {len(ARGUMENTS)} arguments forbidden: found in none")


def test_ruff_forbids_the_rest_in_forge() -> None:
    pytest.importorskip("ruff", reason="part of the dev extra")
    source = "\n".join(["import marshal, os, pickle, subprocess, yaml", "x = input()", *BY_RUFF])
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise"]
    told = subprocess.run(
        [*command, "--stdin-filename", "forge/new.py", "-"],
        input=source,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    for line, (text, rule) in enumerate(BY_RUFF.items(), start=3):
        assert re.search(rf"new\.py:{line}:\d+: {rule} ", told), f"{text} is not found: {told}"


def test_no_comment_in_forge_lifts_these_rules() -> None:
    lifted = re.compile(r"#\s*(?:ruff:\s*)?noqa(?!:\s*[A-Z])|noqa:.*\b(" + "|".join(set(BY_RUFF.values())) + r")\b")
    assert lifted.search("eval(x)  # noqa: S307")
    assert lifted.search("eval(x)  # noqa")
    assert not [str(path) for path in SOURCES if lifted.search(Path(path).read_text("utf-8"))]
