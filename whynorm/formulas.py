"""Formulas of the page: display maths as MathML in parts, between which a narrow window may break the line."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

from latex2mathml.converter import convert

__all__ = ["display_maths"]

Nodes = list[ElementTree.Element]
Part = tuple[int, Nodes]

_NAMESPACE = "http://www.w3.org/1998/Math/MathML"
_RELATIONS, _OPERATORS = frozenset("=≠<>≤≥≈⟺⟹⇔⇒→"), frozenset("+-−·⋅")
# How readily a line is broken: at a comma, a space or words; at a relation; at an operator; within brackets.
_CLAUSE, _RELATION, _OPERATOR, _WITHIN = range(4)
_OPENING, _CLOSING, _BOTH = frozenset("([{⟨"), frozenset(")]}⟩"), frozenset("|∣‖∥")
# Symbols from which on a part is broken within its brackets, too.
_LONG = 30


def display_maths(latex: str) -> str:
    """A centred formula; a line may break after a comma or a space, and before words, relations and operators.

    Browsers break no line within ``<math>``, so what stands between such places is one of its own, in boxes within
    boxes: a line is broken at a sum only where its whole clause and then its side of a relation are too wide. The
    places are outside all brackets, of what is long also within. An operator that begins a part is told that it stands
    between two operands, so that nothing is spaced otherwise than in one piece.
    """
    ElementTree.register_namespace("", _NAMESPACE)
    root = ElementTree.fromstring(convert(latex, display="block"))
    for node in root.iter():
        # The converter leaves a large norm's bars as they were written.
        if node.text == r"\|":
            node.text = "‖"
    parts = [part for row in root for part in _parts(list(row))]
    return f'<div class="formula">{_boxes(parts, _CLAUSE)}</div>'


def _boxes(parts: list[Part], rank: int) -> str:
    """Parts as boxes, broken before those of this rank, each of which is broken at the next one."""
    if len(parts) == 1:
        return _maths(parts[0][1])
    starts = [0, *(i for i, (own, _) in enumerate(parts) if i and own == rank), len(parts)]
    if len(starts) == 2:
        return _boxes(parts, rank + 1)
    boxes = [parts[i:j] for i, j in pairwise(starts)]
    return "".join(_boxes(box, rank + 1) if len(box) == 1 else f"<span>{_boxes(box, rank + 1)}</span>" for box in boxes)


def _parts(nodes: Nodes) -> list[Part]:
    """What stands between the places where a line may break, each with the rank of the place before it."""
    parts = _cut(nodes, 0)
    long = [_cut(part, 1) if _symbols(part) > _LONG else [(rank, part)] for rank, part in parts]
    return [
        (rank if number == 0 else _WITHIN, part)
        for (rank, _), pieces in zip(parts, long, strict=True)
        for number, (_, part) in enumerate(pieces)
    ]


def _cut(nodes: Nodes, level: int) -> list[Part]:
    """Parts between places that lie within at most so many brackets."""
    parts, depth, barred, after = [(_CLAUSE, Nodes())], 0, False, False
    for node in nodes:
        text = _symbol(node)
        outside = depth + barred <= level
        words, space = (node.tag.endswith(f"}}{kind}") for kind in ("mtext", "mspace"))
        if parts[-1][1] and not space and (after or (outside and (words or text in _RELATIONS or text in _OPERATORS))):
            if text in _RELATIONS or text in _OPERATORS:
                node.set("form", "infix")
            rank = _RELATION if text in _RELATIONS else _OPERATOR
            parts.append((_CLAUSE if after or words else rank, Nodes()))
        after = outside and (text == "," or (space and (after or "1em" in node.get("width", ""))))
        parts[-1][1].append(node)
        depth += (text in _OPENING) - (text in _CLOSING)
        barred ^= text in _BOTH
    return parts


def _symbol(node: ElementTree.Element) -> str:
    """The operator or bracket that a node is, or that has its exponent or index; the tag's name if there is none."""
    if len(node) and node.tag.rpartition("}")[2] in ("msub", "msup", "msubsup"):
        node = node[0]
    text = (node.text or "").strip()
    # The converter takes angle brackets for identifiers.
    return text if node.tag.endswith("}mo") or text in _OPENING or text in _CLOSING else node.tag


def _symbols(nodes: Nodes) -> int:
    return sum(not len(leaf) for node in nodes for leaf in node.iter())


def _maths(nodes: Nodes) -> str:
    root = ElementTree.Element(f"{{{_NAMESPACE}}}math", {"displaystyle": "true"})
    ElementTree.SubElement(root, f"{{{_NAMESPACE}}}mrow").extend(nodes)
    return ElementTree.tostring(root, encoding="unicode")
