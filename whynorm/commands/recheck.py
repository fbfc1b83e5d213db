"""``whynorm recheck``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from theory.errors import expected

__all__ = ["recheck"]


def recheck(
    files: Annotated[list[Path], typer.Argument(help="Verdicts of `whynorm verify --json`, or counterexamples.")],
    claims_from: Annotated[Path | None, typer.Option(help="A Python file with further claims; it is executed.")] = None,
) -> int:
    """Replay the certificates and counterexamples that files hold; exit code 1 if any does not check out.

    `whynorm reproduce` writes such a file too: verdicts.json. A file may also hold one counterexample alone.
    """
    from theory.claims import load_claims
    from whynorm.recheck import recheck_claim

    registry = load_claims(claims_from)
    contents = [_claims(path) for path in files]
    checked = failures = 0
    for rows in contents:
        for row in rows:
            for finding in recheck_claim(row, registry):
                typer.echo(finding.text)
                checked += finding.holds is not None
                failures += finding.holds is False
    typer.echo(f"{checked} checked, {failures} rejected")
    return 1 if failures else 0


def _claims(path: Path) -> list[dict[str, Any]]:
    remedy = "write one with `whynorm verify --json FILE`"
    try:
        content = json.loads(path.read_text(), object_pairs_hook=_unique)
        rows = content["claims"] if "claims" in content else [_alone(content)]
        usable = bool(rows) and all(
            {"id", "verdict", "evidence", "counterexample"} <= set(row)
            and isinstance(row["id"], str)
            and isinstance(row["evidence"], list)
            and all(isinstance(item, dict) for item in row["evidence"])
            for row in rows
        )
        if not usable:
            raise KeyError("claims")
        return list(rows)
    except OSError as error:
        raise expected("file", str(path), f"a readable file ({error.strerror})", remedy) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise expected("file", str(path), "JSON with a list of claims", remedy) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; one that says two things under one name could show a reader the other one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name that occurs twice")
    return found


def _alone(example: dict[str, Any]) -> dict[str, Any]:
    """A counterexample without its claim's other evidence, as a row of verdicts."""
    if not isinstance(example["claim"], str) or "instance" not in example:
        raise KeyError("claim")
    return {"id": example["claim"], "verdict": "refuted", "evidence": [], "counterexample": example}
