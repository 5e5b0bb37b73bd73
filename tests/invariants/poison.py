"""`poison.py forge.py …` is Forge with a fault.

POISON: numbers of the backward passes whose gradient is not a number. IDLE: the model has weights that it does not use.
LATE: seconds that the first of several processes starts after the others.
"""

import itertools
import os
import sys
import time

if sys.argv[1] == "-c":
    program = sys.argv[2]
    sys.argv[:] = ["-c", *sys.argv[3:]]
    exec(program, {})
    sys.exit()

sys.path.insert(0, os.path.dirname(sys.argv[1]))  # noqa: PTH120 - as Python does for a script
sys.argv.pop(0)

import torch  # noqa: E402

from forge.cli import main  # noqa: E402
from forge.objectives.sft import SFT  # noqa: E402
from forge.train import loop  # noqa: E402

bad = {int(number) for number in os.environ.get("POISON", "0").split(",")}
real, calls = SFT.compute, itertools.count(1)


def poisoned(self, model, batch, totals):
    report = real(self, model, batch, totals)
    if next(calls) in bad:
        report.loss.register_hook(lambda gradient: gradient * float("nan"))
    return report


def with_idle(model, *rest):
    model.idle = torch.nn.Linear(2, 2)
    return build(model, *rest)


SFT.compute = poisoned
if "IDLE" in os.environ:
    build, loop.build_optimizer = loop.build_optimizer, with_idle

if os.environ.get("RANK") == "0":
    time.sleep(float(os.environ.get("LATE", "0")))

if __name__ == "__main__":
    sys.exit(main())
