"""`slow.py forge.py …` is Forge with a pause at each step, so that a tiny run fills several jobs.

PACE holds the seconds, one figure for each life that came to training and the last for all that follow: `1.6 0`
hurries through the second. Lives are counted in files beside PACE_LIVES. torchrun starts its processes with `-u`.
"""

import os
import sys
import time
from functools import cache

if sys.argv[1] == "-u":
    sys.argv.pop(1)
if sys.argv[1] == "-c":
    program = sys.argv[2]
    sys.argv[:] = ["-c", *sys.argv[3:]]
    exec(program, {})
    sys.exit()

sys.path.insert(0, os.path.dirname(sys.argv[1]))  # noqa: PTH120 - as Python does for a script
sys.argv.pop(0)

from forge.cli import main  # noqa: E402
from forge.train.signals import StopRequest  # noqa: E402

asked = StopRequest.why.fget
assert asked
paces = [float(seconds) for seconds in os.environ["PACE"].split()]


@cache
def pace() -> float:
    """Of this life, which is counted when it comes to its first step."""
    name = [os.environ.get(part, "") for part in ("PACE_LIVES", "SLURM_ARRAY_TASK_ID", "RANK")]
    if not name[0]:
        return paces[0]
    with open(".".join(name), "a") as lives:  # noqa: PTH123
        before = lives.tell()
        lives.write("+")
    return paces[min(before, len(paces) - 1)]


def slowly(request: StopRequest) -> str:
    """What `why` says, later; the loop asks once a step."""
    time.sleep(pace())
    return asked(request)


StopRequest.why = property(slowly)  # type: ignore[method-assign,assignment]

if __name__ == "__main__":
    sys.exit(main())
