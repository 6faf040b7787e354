"""`python llama_server.py MODEL chat|embeddings`: llama.cpp's own server with a model, until standard input ends."""

from __future__ import annotations

import sys

import xllamacpp


def main(model: str, task: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_ctx, params.n_parallel = 2048, 4
    params.cpuparams.n_threads = 1
    params.warmup = False
    params.embedding = task == "embeddings"
    if params.embedding:
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
