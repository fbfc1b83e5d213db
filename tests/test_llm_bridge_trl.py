"""Parity with TRL's GRPOTrainer on the same rollouts: masks, advantages, and LoRA gradient for every loss type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from compare import assert_agree
from random_rollouts import as_rollouts, perturbed, random_rollouts
from trl_trainer import GROUP, LONGEST, PROMPTS, REWARDS, TEMPERATURE, make_trainer

from llm_bridge.models import LoadedModel
from llm_bridge.sampled.decoding import mask_to_first_end
from llm_bridge.sampled.group_loss import group_loss, score_rollouts, sequence_log_probs
from llm_bridge.sampled.per_prompt import PerPromptGradients
from llm_bridge.sampled.rollouts import Rollouts
from theory.advantages import get_convention
from theory.errors import InputError

# TRL reads what transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*checkpointing.* is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return perturbed("float32")


@pytest.fixture(scope="module")
def trainer(loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Any:
    trainer = make_trainer(loaded, tmp_path_factory.mktemp("trl"))
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def trl_batch(trainer: Any, scale: str = "group") -> dict[str, Any]:
    """What TRL's own generation step makes of the prompts."""
    trainer.scale_rewards = scale
    trainer.model.train()
    torch.manual_seed(2)
    return trainer._generate_and_score_completions([{"prompt": text} for text in PROMPTS for _ in range(GROUP)])


def ours(batch: dict[str, torch.Tensor]) -> Rollouts:
    names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    rows = len(batch["prompt_ids"])
    return Rollouts(
        **{name: batch[name] for name in names},
        texts=("",) * rows,
        group=GROUP,
        ended=torch.ones(rows, dtype=torch.bool),
        entropy=torch.zeros(rows, dtype=torch.float64),
    )


def flat_gradient(loaded: LoadedModel, loss: torch.Tensor) -> torch.Tensor:
    return torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, list(loaded.parameters.values()))])


def as_trl_inputs(rollouts: Rollouts, advantages: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "prompt_ids": rollouts.prompt_ids,
        "prompt_mask": rollouts.prompt_mask,
        "completion_ids": rollouts.completion_ids,
        "completion_mask": rollouts.completion_mask,
        "advantages": advantages.reshape(-1).float(),
        "num_items_in_batch": rollouts.completion_mask.sum(),
    }


@pytest.mark.parametrize(("scale", "preset"), [("group", "trl"), ("batch", "trl_batch"), ("none", "no_std")])
def test_advantages_loss_and_gradient_on_trls_own_rollouts(
    loaded: LoadedModel, trainer: Any, scale: str, preset: str
) -> None:
    batch = trl_batch(trainer, scale)
    rewards = torch.tensor(REWARDS, dtype=torch.float64).view(-1, GROUP)
    advantages = get_convention(preset)(rewards)
    assert_agree(batch["advantages"].view(-1, GROUP), advantages, rtol=1e-6, atol=1e-7)
    assert int(batch["completion_mask"].sum(dim=1).min()) < int(batch["completion_mask"].sum(dim=1).max())

    trainer.loss_type = "luspo"
    right = flat_gradient(loaded, trainer._compute_loss(loaded.model, batch))
    actual = flat_gradient(loaded, group_loss(sequence_log_probs(loaded.model, ours(batch), TEMPERATURE), advantages))
    assert float(right.norm()) > 0
    assert float((actual - right).norm() / right.norm()) < 1e-5


def test_zero_advantage_groups_agree_with_every_preset_of_the_mean(trainer: Any) -> None:
    # TRL divides 0 by eps in a group of equal rewards, the paper's formula is 0 / 0 there; both come out as 0.
    batch = trl_batch(trainer)
    assert batch["advantages"].view(-1, GROUP)[1:].abs().max() == 0
    assert get_convention("paper")(torch.tensor(REWARDS).view(-1, GROUP))[1:].abs().max() == 0


def test_masks_run_to_the_first_end_token(loaded: LoadedModel, trainer: Any) -> None:
    batch = trl_batch(trainer)
    ids, mask = batch["completion_ids"], batch["completion_mask"]
    assert torch.equal(mask_to_first_end(ids, [loaded.tokenizer.eos_token_id]), mask.to(torch.int64))
    assert int((mask == 0).sum()) > 0


Factor = Callable[[Rollouts], float]


def tokens_per_completion(rollouts: Rollouts) -> float:
    return float(rollouts.completion_mask.sum()) / len(rollouts.texts)


# TRL setting -> what its gradient is ours divided by. docs/trl.md has the same table.
FACTORS: dict[str, tuple[dict[str, Any], Factor]] = {
    "luspo": ({"loss_type": "luspo"}, lambda rollouts: 1.0),
    "luspo, sequence": ({"loss_type": "luspo", "importance_sampling_level": "sequence"}, lambda rollouts: 1.0),
    "dr_grpo": ({"loss_type": "dr_grpo"}, lambda rollouts: LONGEST),
    "dapo": ({"loss_type": "dapo"}, tokens_per_completion),
    "bnpo": ({"loss_type": "bnpo"}, tokens_per_completion),
    "vespo": ({"loss_type": "vespo"}, tokens_per_completion),
    "cispo": ({"loss_type": "cispo", "epsilon_high": 5.0}, tokens_per_completion),
    "cispo, default": ({"loss_type": "cispo", "epsilon_high": 0.2}, lambda r: tokens_per_completion(r) / 0.2),
}
BY_LENGTH: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo"},
    "grpo, sequence (GSPO)": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    "sapo": {"loss_type": "sapo"},
}
DEFAULTS = {"importance_sampling_level": "token", "epsilon_high": 0.2}


@pytest.fixture
def both(loaded: LoadedModel, trainer: Any) -> Callable[..., tuple[torch.Tensor, torch.Tensor, float, float]]:
    """Gradients and losses of TRL and of `group_loss`, for the same rollouts and advantages."""

    def evaluate(
        settings: dict[str, Any], rollouts: Rollouts, weights: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, float, float]:
        for name, value in {**DEFAULTS, **settings}.items():
            assert hasattr(trainer, name)
            setattr(trainer, name, value)
        advantages = torch.randn(rollouts.n, GROUP, generator=torch.Generator().manual_seed(1))
        theirs = trainer._compute_loss(loaded.model, as_trl_inputs(rollouts, advantages))
        mine = group_loss(
            sequence_log_probs(loaded.model, rollouts, TEMPERATURE),
            advantages if weights is None else advantages * weights.view(-1, GROUP),
        )
        values = theirs.item(), mine.item()
        return flat_gradient(loaded, theirs), flat_gradient(loaded, mine), *values

    return evaluate


@pytest.mark.parametrize("name", FACTORS)
def test_gradient_is_trls_up_to_the_known_factor(name: str, both: Any, loaded: LoadedModel) -> None:
    settings, factor = FACTORS[name]
    rollouts = random_rollouts(loaded.model.config.vocab_size, 3, GROUP, longest=LONGEST)
    theirs, mine, loss, my_loss = both(settings, rollouts)
    assert float((theirs * factor(rollouts) - mine).norm() / mine.norm()) < 1e-5
    if settings["loss_type"] in ("cispo", "vespo"):
        # The other losses have the ratio 1 where these have ln pi, so only their gradients can be compared.
        assert_agree(loss * factor(rollouts), my_loss, rtol=1e-5)


@pytest.mark.parametrize("name", BY_LENGTH)
def test_per_sequence_means_are_ours_with_advantages_divided_by_length(
    name: str, both: Any, loaded: LoadedModel
) -> None:
    rollouts = random_rollouts(loaded.model.config.vocab_size, 3, GROUP, longest=LONGEST)
    theirs, mine, *_ = both(BY_LENGTH[name], rollouts, 1 / rollouts.completion_mask.sum(dim=1))
    assert float((theirs - mine).norm() / mine.norm()) < 1e-5
    # No factor makes the two equal when lengths differ ...
    theirs, mine, *_ = both(BY_LENGTH[name], rollouts)
    assert float(torch.nn.functional.cosine_similarity(theirs, mine, dim=0)) < 0.99
    # ... and the length does when they do not.
    rollouts = random_rollouts(loaded.model.config.vocab_size, 3, GROUP, longest=LONGEST, same_length=True)
    theirs, mine, *_ = both(BY_LENGTH[name], rollouts)
    assert float((theirs * LONGEST - mine).norm() / mine.norm()) < 1e-5


def test_entropy_is_what_trl_logs(loaded: LoadedModel, trainer: Any) -> None:
    rollouts = random_rollouts(loaded.model.config.vocab_size, 3, GROUP, longest=LONGEST)
    trainer._metrics["eval"].clear()
    loaded.model.eval()
    trainer.loss_type = "luspo"
    trainer._compute_loss(loaded.model, as_trl_inputs(rollouts, torch.zeros(3, GROUP)))
    scores = score_rollouts(loaded.model, rollouts, TEMPERATURE, entropy=True)
    assert scores.entropy is not None
    mean = float(scores.entropy.sum() / scores.lengths.sum())
    assert_agree(mean, trainer._metrics["eval"]["entropy"][0], rtol=1e-5)


def test_learned_positions_of_padded_prompts(loaded: LoadedModel, tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2, "bos_token_id": 1, "eos_token_id": 1}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=loaded.model.config.vocab_size, **sizes)).eval()
    with torch.no_grad():
        for value in model.parameters():
            value += 0.3 * torch.randn(value.shape)
    model.requires_grad_(False)
    trainer = make_trainer(SimpleNamespace(model=model, tokenizer=loaded.tokenizer), tmp_path)

    def theirs(rollouts: Rollouts) -> torch.Tensor:
        ids = torch.cat([rollouts.prompt_ids, rollouts.completion_ids], dim=1)
        mask = torch.cat([rollouts.prompt_mask, rollouts.completion_mask], dim=1)
        length = rollouts.completion_ids.shape[1]
        scores, *_ = trainer._get_per_token_logps_and_entropies(model, ids, mask, length)
        return (scores * rollouts.completion_mask).sum(dim=1)

    tight, wide = (as_rollouts([[5, 6, 7]], [[8, 9, 1], [2, 3, 4]], extra=extra) for extra in (0, 4))
    right = sequence_log_probs(model, tight, TEMPERATURE)
    assert_agree(theirs(tight), right, rtol=1e-5)
    assert_agree(sequence_log_probs(model, wide, TEMPERATURE), right, rtol=1e-5)
    # As transformers' own generate has it, too. If this fails, TRL passes positions: say so in docs/trl.md.
    assert float((theirs(wide) - right).abs().min()) > 0.1


@pytest.mark.deep
def test_parity_on_a_real_model(tmp_path: Path) -> None:
    try:
        loaded = perturbed("float32", "smollm2")
    except InputError as missing:
        pytest.skip(f"needs the weights: whynorm bridge fetch smollm2 ({missing})")
    trainer = make_trainer(loaded, tmp_path)
    rollouts = random_rollouts(loaded.model.config.vocab_size, 2, GROUP, longest=8)
    advantages = torch.randn(2, GROUP, generator=torch.Generator().manual_seed(1))
    trainer.loss_type = "luspo"
    theirs = flat_gradient(loaded, trainer._compute_loss(loaded.model, as_trl_inputs(rollouts, advantages)))
    scores = score_rollouts(loaded.model, rollouts, TEMPERATURE)
    mine = flat_gradient(loaded, group_loss(scores.log_probs, advantages))
    assert float((theirs - mine).norm() / mine.norm()) < 1e-5
    with PerPromptGradients(loaded.model, 2) as parts:
        group_loss(sequence_log_probs(loaded.model, rollouts, TEMPERATURE), advantages).backward()
    assert float((parts.gradients().sum(dim=0) - theirs).norm() / theirs.norm()) < 1e-5
