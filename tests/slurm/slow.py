"""`slow.py forge.py …` is Forge with a pause of PACE seconds at each step, so that a tiny run fills several jobs."""

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

from forge.cli import main  # noqa: E402
from forge.train.signals import StopRequest  # noqa: E402

asked = StopRequest.why.fget
assert asked


def slowly(request: StopRequest) -> str:
    """What `why` says, later; the loop asks once a step."""
    time.sleep(float(os.environ["PACE"]))
    return asked(request)


StopRequest.why = property(slowly)  # type: ignore[method-assign,assignment]

if __name__ == "__main__":
    sys.exit(main())
