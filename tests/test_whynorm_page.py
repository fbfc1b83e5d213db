"""What the tests of the report share: a checker of pages, itself tested, and a results directory made in a second."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from simulator.checks import build_context
from simulator.families import make_problem, success_targets
from simulator.problems import Problem
from simulator.records import Record
from simulator.reference import simulate
from theory.claims import load_registry
from theory.instances import Instance
from theory.judge import Counterexample, recheck
from theory.rules import GRPO, REINFORCE
from theory.verdicts import Evidence, decide, proof_evidence
from whynorm.settings import Settings

SETTINGS = Settings(steps=8, simulator_steps=20, n=3, outputs=4, big_step=20.0)
VOID = {"meta", "link", "br", "hr", "img", "input", "col", "area", "base", "embed", "source", "wbr"}


class Page(HTMLParser):
    """Checks that tags are balanced, and collects what tests ask about."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def values(self, name: str) -> list[str]:
        """All values of an attribute."""
        return [value for _, key, value in self.attributes if key == name]


def check_page(html: str) -> Page:
    """What holds for every report page; shared with the tests of the main job."""
    page = Page(html)
    ids = page.values("id")
    assert len(ids) == len(set(ids)), [each for each, count in Counter(ids).items() if count > 1]
    for target in page.values("href"):
        assert target.startswith("#"), target
        assert target[1:] in ids, target
    assert all(place.startswith("#") for place in re.findall(r"url\(([^)]*)\)", html))
    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1998/Math/MathML"}
    assert set(re.findall(r"[a-z]+://[^\s\"'<>)]*", html)) <= names
    assert not page.values("src")
    assert not page.tags.keys() & {"script", "iframe", "object", "embed", "img", "link", "form", "base"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "@import" not in html
    assert not re.search(r"\bnan\b|\binf\b|undefined|Traceback", html, flags=re.IGNORECASE)
    assert page.tags["svg"] == page.values("role").count("img") >= 9
    return page


@cache
def make_runs() -> dict[str, Record]:
    targets = success_targets(SETTINGS.n, SETTINGS.low, SETTINGS.high)
    orthogonal = make_problem("orthogonal", SETTINGS.n, SETTINGS.outputs, p0=targets, seed=0)
    linear = replace(make_problem("gaussian", SETTINGS.n, 5, p0=targets, seed=1), name="tiny linearised")
    # A "model" that differs from its linearisation: the same bandit with other features.
    other = replace(make_problem("gaussian", SETTINGS.n, 5, p0=targets, seed=2), name="tiny")
    runs = {}
    for rule in (REINFORCE, GRPO):
        assert rule.step_size is not None
        eta = float(rule.step_size(orthogonal.x_max_sq))
        runs[f"orthogonal-{rule.name}"] = simulate(orthogonal, rule, eta, SETTINGS.simulator_steps, record="full")
        for name, scale in (("theorem", 1.0), ("big", SETTINGS.big_step)):
            eta = scale * float(rule.step_size(linear.x_max_sq))
            for kind, problem in (("linearised", linear), ("model", other)):
                run = simulate(problem, rule, eta, SETTINGS.steps, record="full")
                run = replace(run, x_max_sq=linear.x_max_sq)
                runs[f"{kind}-{rule.name}-{name}"] = replace(run, origin="language model") if kind == "model" else run
    return runs


def _refutation() -> Counterexample:
    one = Problem([[[1.0], [0.0]]], [0], [0.0])  # type: ignore[arg-type]
    instance = Instance(one.features, one.answers, one.theta0, one.theta0 + 1, one.theta0, 76)
    found = recheck(load_registry()["P-T32-SUM"], build_context, instance)
    assert isinstance(found, Counterexample)
    return found


def _verdicts(among: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for claim in load_registry():
        if among and claim.id not in among:
            continue
        proof = proof_evidence(claim, load_registry())
        evidence = [proof] if proof is not None else [Evidence("property", "undecided", "not looked at")]
        if claim.id == "P-T32-SUM":
            evidence = [Evidence("property", "violated", "by hand", 1, 0, 1.001, _refutation())]
        rows.append(decide(claim, evidence).to_json())
    return rows


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def fill(directory: Path, claims: Sequence[str] = ()) -> None:
    """Make a results directory like the main job's, without a language model; of some claims, or of all."""
    runs = make_runs()
    for name, run in runs.items():
        run.save(directory / "runs" / name)
    geometry = {"prompts": ["3+5=", "6*7=", "17+26="], "parameters": 41472, "orthogonality_defect": 0.2}
    geometry |= {"cosine_mean": -0.01, "cosine_std": 0.1, "cosine_small_share": 0.9, "cosine_positive_share": 0.4}
    linear = runs["linearised-grpo-theorem"]
    geometry |= {"x_max_sq": linear.x_max_sq, "x_max_sq_centred": 0.9 * linear.x_max_sq, "p": list(linear.J[0])}
    _write(directory / "geometry.json", geometry)
    _write(directory / "verdicts.json", {"claims": _verdicts(claims)})
    _write(directory / "settings.json", {**asdict(SETTINGS), "machine": {"python": "3.11", "torch": "not installed"}})


def test_the_page_checker_sees_faults() -> None:
    """The checks above are only as good as this."""
    for html in ("<p><b></p></b>", "<p>", "</p>", "<div></p></div>"):
        with pytest.raises(AssertionError):
            Page(html)
    good = Page("<p id='a'>1 &lt; 2<br><i/></p>")
    assert good.values("id") == ["a"]
    assert "".join(good.text) == "1 < 2"
