"""Fetch from a hub, then find the same again without one: `prepare` on a login node, the run on a compute node.

The hub is a small server on this machine that speaks as much of its protocol as a download needs.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

SHA = "c" * 40
CARD = "---\nconfigs:\n- config_name: a\n  data_files: a/*.jsonl\n- config_name: b\n  data_files: b/*.jsonl\n---\n"
REPOSITORIES = {
    "models/org/net": {
        ".gitattributes": "x",
        "README.md": "# net",
        "config.json": "{}",
        "model.safetensors": "weights",
        "pytorch_model.bin": "pickle",
        "onnx/model.json": "{}",
        "tokenizer.json": "{}",
        "vocab.txt": "a",
    },
    "datasets/org/data": {
        ".gitattributes": "x",
        "README.md": CARD,
        "a/train.jsonl": '{"text": "x"}\n',
        "b/train.jsonl": '{"text": "y"}\n',
    },
}

ASK = """
import json, sys
from pathlib import Path
from forge.core.assets import Wanted, locate
from forge.core.errors import ForgeError
kind, name, subset, policy = sys.argv[1:]
try:
    asset = locate(Wanted(kind, name, patterns=(subset,) if subset else ()), policy, smoke=False)
    folder = Path(asset.location)
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    print(json.dumps({"source": asset.source, "revision": asset.revision, "files": files}))
except ForgeError as error:
    print(json.dumps({"error": str(error)}))
assert "torch" not in sys.modules
"""


class _Hub(BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.split("?")[0].strip("/")
        for repository, files in REPOSITORIES.items():
            api, plain = f"api/{repository}", repository.removeprefix("models/")
            if path in {api, f"{api}/revision/main", f"{api}/revision/{SHA}"}:
                return self._json({"id": "org/x", "sha": SHA, "siblings": [], "tags": [], "private": False})
            if path == f"{api}/tree/{SHA}":
                return self._json([_entry(name, text) for name, text in files.items()])
            for revision in ("main", SHA):
                prefix = f"{plain}/resolve/{revision}/"
                if path.startswith(prefix) and path.removeprefix(prefix) in files:
                    return self._send(files[path.removeprefix(prefix)].encode(), "text/plain")
        self.send_response(404)
        self.send_header("X-Error-Code", "EntryNotFound" if "/resolve/" in path else "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    do_HEAD = do_GET

    def _json(self, value):
        self._send(json.dumps(value).encode(), "application/json")

    def _send(self, body, kind):
        self.send_response(200)
        self.send_header("X-Repo-Commit", SHA)
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def _entry(name, text):
    return {"type": "file", "path": name, "size": len(text), "oid": hashlib.sha1(text.encode()).hexdigest()}


@pytest.fixture(scope="module")
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _ask(home, hub, kind, name, subset="", policy="auto"):
    environment = {key: value for key, value in os.environ.items() if not key.upper().endswith("_PROXY")}
    environment |= {"HF_HOME": str(home), "HF_ENDPOINT": hub or "http://127.0.0.1:9", "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_HUB_OFFLINE": "0" if hub else "1"}
    command = [sys.executable, "-c", ASK, kind, name, subset, policy]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_fetched_model_is_found_offline(tmp_path, hub):
    online = _ask(tmp_path, hub, "model", "org/net")
    assert online == {
        "source": "hub",
        "revision": SHA,
        "files": ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"],  # no pickle, no other format
    }
    assert _ask(tmp_path, None, "model", "org/net") == online | {"source": "cache"}
    assert _ask(tmp_path, None, "model", "org/net", policy="local")["source"] == "cache"


def test_a_download_that_broke_off_is_finished_not_used(tmp_path, hub):
    _ask(tmp_path, hub, "model", "org/net")
    (tokenizer,) = tmp_path.glob("hub/models--org--net/snapshots/*/tokenizer.json")
    tokenizer.unlink()
    assert "neither on this disk" in _ask(tmp_path, None, "model", "org/net")["error"]
    assert _ask(tmp_path, hub, "model", "org/net")["source"] == "hub"
    assert tokenizer.exists()


def test_a_fetched_subset_is_found_offline_and_the_other_is_not(tmp_path, hub):
    online = _ask(tmp_path, hub, "dataset", "org/data", "a")
    assert online == {"source": "hub", "revision": SHA, "files": ["README.md", "a/train.jsonl"]}
    assert _ask(tmp_path, None, "dataset", "org/data", "a") == online | {"source": "cache"}
    assert "neither on this disk" in _ask(tmp_path, None, "dataset", "org/data", "b")["error"]
    assert _ask(tmp_path, hub, "dataset", "org/data", "b")["files"] == ["README.md", "a/train.jsonl", "b/train.jsonl"]


def test_a_name_that_the_hub_does_not_have(tmp_path, hub):
    message = _ask(tmp_path, hub, "model", "org/nothing")["error"]
    assert message.startswith("model.name: the hub has no model org/nothing, or it is private")
