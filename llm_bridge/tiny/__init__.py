"""The packaged tiny language model: a character-level Qwen2 pretrained on short arithmetic strings.

The folder holds `model.safetensors` (float32), `config.json`, `generation_config.json`, `tokenizer.json` and
`tokenizer_config.json`, all written by `python -m llm_bridge.pretrain_tiny`. There is no code here; load the model
with `llm_bridge.models.load_model("tiny")`.
"""

from __future__ import annotations

__all__: list[str] = []
