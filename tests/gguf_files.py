"""Small GGUF files for the tests, written from the packaged model."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

from llm_bridge.weights.catalogue import TINY_FOLDER

__all__ = ["write_tiny_gguf"]

_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.layers.": "blk.",
}


def write_tiny_gguf(path: Path, *, quantised: bool = False, without: str = "", scale: float = 1.0) -> Path:
    """The model tiny as GGUF: float32, or 8-bit blocks where ``quantised``.

    without: leave tensors out whose name holds this. scale: factor of the attention outputs, to spoil the model.
    """
    config = json.loads((TINY_FOLDER / "config.json").read_text())
    vocabulary = json.loads((TINY_FOLDER / "tokenizer.json").read_text())["model"]["vocab"]
    writer = gguf.GGUFWriter(str(path), "qwen2")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_tokenizer_model("gpt2")
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    writer.add_token_list(tokens)
    special = {"<pad>", "<eos>", "<unk>"}
    kinds = (gguf.TokenType.CONTROL, gguf.TokenType.NORMAL)
    writer.add_token_types([kinds[0] if token in special else kinds[1] for token in tokens])
    # With no merges to write (every token is one character), scores are what the reader derives them from.
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_unk_token_id(vocabulary["<unk>"])
    for name, tensor in load_file(TINY_FOLDER / "model.safetensors").items():
        _add(writer, name, tensor, quantised, without, scale)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, name: str, tensor: np.ndarray, quantised: bool, without: str, scale: float) -> None:
    if without and without in name:
        return
    if "o_proj" in name:
        tensor = tensor * np.float32(scale)
    for old, new in _NAMES.items():
        name = name.replace(old, new)
    if quantised and tensor.ndim == 2:
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, tensor)
