"""What the texts of a certificate rest on, read off them; a part of ``theory.checker``, without the provers' code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

__all__ = ["misdeclared"]

# x_a, u_a, e_a and [H r]_a name the one right output that Assumption 1 grants.
_SINGLE = re.compile(r"(?<!\w)(?:[xue]_a|the right output)(?!\w)|\]_a(?!\w)|,a\}")


def misdeclared(certificate: Mapping[str, Any]) -> str:
    """How the declared assumptions and citations differ from those that the texts name; empty if they agree.

    What is named must be declared, or an assumption could slip in unseen; what is declared must be named.
    """
    texts = [*certificate["facts"], *(each["because"] for each in certificate["relations"] + certificate["steps"])]
    texts += [symbol[key] for symbol in certificate["symbols"] for key in ("name", "meaning")]
    assumed: set[str] = set()
    cited: set[str] = set()
    for text in texts:
        words = re.split(r"[^A-Za-z0-9_,}\]-]+", text)
        assumed.update(f"A{after[:1]}" for word, after in pairwise(words) if word == "Assumption")
        if _SINGLE.search(text):
            assumed.add("A1")
        cited.update(word for word in re.findall(r"[A-Z0-9-]+[A-Z0-9]", text) if word[:2] in ("P-", "S-", "X-"))
    for name, found in (("assumptions", assumed), ("cites", cited - {certificate["claim"]})):
        if certificate[name] != sorted(found):
            return f"its texts name the {name} {sorted(found)}, not the declared {certificate[name]}"
    return ""
