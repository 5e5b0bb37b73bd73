"""The process that runs experiments: it imports the libraries once, computes on one thread, and may die.

Requests and events are lines of JSON: in through standard input, out through what was standard output, which everything
else in this process no longer reaches. When the face that started it is gone, it goes too.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forge.core.errors import ForgeError
from forge.learn.course import Tell
from forge.learn.experiments.base import Live
from forge.learn.experiments.table import EXPERIMENTS, warm_up


def main() -> None:
    """Be the process."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # what libraries print goes to the log

        def send(event: Mapping[str, Any]) -> None:
            out.write(json.dumps(event) + "\n")
            out.flush()

        requests: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=_listen, args=(requests,), daemon=True).start()
        warm_up()
        send({"event": "ready"})
        while True:
            request = requests.get()
            send(_answer(request, send))


def _listen(requests: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    os._exit(0)  # the face is gone, and so is who would read a result


def _answer(request: Mapping[str, Any], send: Tell) -> dict[str, Any]:
    began = _computed()
    try:
        live = Live(Path(request["folder"]), float(request["seconds"]), send)
        result = EXPERIMENTS[request["lesson"]](request["controls"], live)
        computed = _computed() - began
        return {"event": "result", "result": result.model_dump(mode="json"), "computed": computed}
    except ForgeError as error:
        return {"event": "failed", "text": str(error).splitlines()[0]}
    except Exception as error:
        traceback.print_exc()
        why = f"the experiment failed, {type(error).__name__}: {error}; the worker's log has more"
        return {"event": "failed", "text": why}


def _computed() -> float:
    """Seconds that this process has computed, and those it started that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


if __name__ == "__main__":
    main()
