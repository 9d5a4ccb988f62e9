"""A Hugging Face hub on this machine: the few addresses that huggingface_hub asks for a model's files."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    """One revision of a model: its files by name."""

    files: dict[str, bytes]

    @property
    def revision(self) -> str:
        """40 hex digits that change with any file."""
        digest = hashlib.sha1(usedforsecurity=False)
        for name, content in sorted(self.files.items()):
            digest.update(name.encode() + b"\0" + content)
        return digest.hexdigest()

    def described(self, name: str) -> dict[str, object]:
        """A file as the hub's listings have it; safetensors are stored as large files."""
        content = self.files[name]
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        large = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return {"blob": blob, "size": len(content), "lfs": large if name.endswith(".safetensors") else None}


@dataclass
class LocalHub:
    """What there is to serve, and what was asked for."""

    endpoint: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)  # files that were downloaded
    broken: bool = False  # every answer is 503

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path."""
        if self.broken:
            return 503, {}, b""
        for name, repository in self.repositories.items():
            api, files = f"/api/models/{name}", f"/{name}/resolve/{repository.revision}/"
            if path.startswith(f"{api}/tree/"):
                return _json([_in_tree(repository, file) for file in repository.files])
            if path == api or path.startswith(f"{api}/revision/"):
                siblings = [_sibling(repository, file) for file in repository.files]
                return _json({"id": name, "sha": repository.revision, "siblings": siblings})
            if path.startswith(files) and (file := path.removeprefix(files)) in repository.files:
                about = repository.described(file)
                large = about["lfs"]
                etag = large["sha256"] if isinstance(large, dict) else about["blob"]
                headers = {"ETag": f'"{etag}"', "X-Repo-Commit": repository.revision}
                return 200, headers, repository.files[file]
        return 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, b""


def _json(data: object) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(data).encode()


def _sibling(repository: Repository, name: str) -> dict[str, object]:
    about = repository.described(name)
    lfs = {"lfs": about["lfs"]} if about["lfs"] else {}
    return {"rfilename": name, "size": about["size"], "blobId": about["blob"], **lfs}


def _in_tree(repository: Repository, name: str) -> dict[str, object]:
    about = repository.described(name)
    large = about["lfs"]
    lfs = (
        {"lfs": {"oid": large["sha256"], "size": large["size"], "pointerSize": 134}} if isinstance(large, dict) else {}
    )
    return {"type": "file", "path": name, "size": about["size"], "oid": about["blob"], **lfs}


@contextmanager
def local_hub(repositories: dict[str, Repository]) -> Iterator[LocalHub]:
    """A hub that answers on the loopback interface until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20  # s

        def do_HEAD(self) -> None:
            self._reply(with_body=False)

        def do_GET(self) -> None:
            self._reply(with_body=True)

        def _reply(self, *, with_body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            status, headers, body = hub.answer(path)
            if with_body and "/resolve/" in path and status == 200:
                hub.sent.append(path.rsplit("/", 1)[-1])
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub = LocalHub(f"http://127.0.0.1:{server.server_address[1]}", repositories)
    thread = threading.Thread(target=server.serve_forever, name="local hub", daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10.0)
