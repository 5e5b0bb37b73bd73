"""The configuration is checked before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
import forge.config, forge.config.explain
from forge.config import resolve
from forge.core.errors import ConfigError
try:
    resolve(sys.argv[1])
except ConfigError as error:
    print(error)
heavy = {"torch", "transformers", "datasets", "accelerate", "numpy", "sklearn", "matplotlib"} & set(sys.modules)
print("heavy:", sorted(heavy))
"""


def test_nothing_heavy_is_imported(valid):
    root = str(Path(__file__).parents[2])
    code = f"import sys; sys.path.insert(0, {root!r})\n{CODE}"
    done = subprocess.run(
        [sys.executable, "-c", code, valid("alhpa: 1\n")], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout == "x.yaml:4:1  alhpa is not a setting; did you mean alpha?\nheavy: []\n"
