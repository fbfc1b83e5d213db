"""X-ORDER: for orthogonal prompts the random prompt order is a binomial number of steps on the prompt's own path."""

from __future__ import annotations

from theory.assumptions import ORTHOGONAL, UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim, Link
from theory.rules import GRPO

__all__ = ["CLAIMS"]


def _proof() -> Certificate:
    proof = Proof("X-ORDER")
    n = proof.symbol("n", "positive", "number of prompts")
    total = proof.symbol("N", "positive", "n^t, number of orders of length t, all equally likely")
    same = proof.symbol("a", "nonnegative", "orders of length t that draw prompt i k times")
    fewer = proof.symbol("b", "nonnegative", "orders of length t that draw prompt i k - 1 times")
    proof.fact("By S-ORTHO-FIXED a prompt moves only when it is drawn, and where it goes depends on itself alone.")
    proof.fact(
        "So after an order that draws it k times it stands at the k-th point of its own path, whatever the order."
    )
    proof.equal(
        ((n - 1) * same + fewer) / (n * total),
        same / total * (1 - 1 / n) + fewer / total / n,
        "of the n^(t+1) orders, (n - 1) a + b draw it k times: the recursion of the Binomial(t, 1/n) distribution",
    )
    return proof.done("E f(theta_t) is the mean of f on the prompt's own path over k ~ Binomial(t, 1/n)")


CLAIMS = (
    Claim(
        id="X-ORDER",
        source="whynorm",
        place="behind Theorems 3.1 and 3.2",
        title="the prompt order is a binomial clock",
        statement=(
            r"\mathbb E f(\theta_t) = \sum_{k=0}^{t}\binom tk \frac{(n-1)^{t-k}}{n^t}\, f(\theta^{(k)}), \quad "
            r"\theta^{(k)}: \text{prompt } i \text{ drawn } k \text{ times in a row}"
        ),
        scope="interacting",
        chain=(
            Link("J", "==", lambda run: run.J, lambda run: run.mixture.J),
            Link("gradient", "==", lambda run: run.grad_sq, lambda run: run.mixture.grad_sq),
            Link("gain", "==", lambda run: run.gain, lambda run: run.mixture.gain),
            Link("largest deviation", "==", lambda run: run.std_sup, lambda run: run.mixture.std_sup),
        ),
        assumptions=(UNIQUE_ANSWER, ORTHOGONAL),
        rule=GRPO,
        step_size=lambda constants: 1 / (2 * constants.x_max_sq),
        proof=_proof,
        remark="Left: all n^t orders, one by one. Right: the mixture that expectations here are computed by.",
    ),
)
