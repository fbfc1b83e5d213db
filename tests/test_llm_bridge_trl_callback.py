"""The diagnostics in real runs of TRL's GRPOTrainer: right, and without any effect on the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compare import assert_agree
from random_rollouts import perturbed
from trl_trainer import GROUP, PROMPTS, make_trainer

from llm_bridge.measurement.interaction_measures import interaction_measures
from llm_bridge.models import LoadedModel
from llm_bridge.sampled.halves import measures_of_halves
from llm_bridge.sampled.trl_callback import TheoryCallback
from theory.errors import InputError

# TRL reads what transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*checkpointing.* is deprecated:FutureWarning")

ROWS = GROUP * len(PROMPTS)
# Whole batches; four passes of three rows each; recomputed activations; two optimizer steps, or one, on two batches.
SETTINGS: dict[str, dict[str, Any]] = {
    "one pass": {},
    "accumulated": {"per_device_train_batch_size": ROWS // 4, "gradient_accumulation_steps": 4},
    "checkpointed": {"activation_checkpointing": True},
    "reentrant": {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": True}},
    "cut": {"per_device_train_batch_size": ROWS // 2, "steps_per_generation": 2, "gradient_accumulation_steps": 1},
    "joined": {"gradient_accumulation_steps": 2, "steps_per_generation": 1},
    "unscaled": {"scale_rewards": "none", "loss_type": "dr_grpo"},
    "batch": {"scale_rewards": "batch"},
}


class Recording(TheoryCallback):
    """Keeps the gradients that were measured, and those that the optimizer got."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seen = self._parts.gradients().clone()
        self.applied = torch.cat([p.grad.reshape(-1) for p in self.trainer.model.parameters() if p.requires_grad])
        super().on_pre_optimizer_step(args, state, control, **kwargs)


def run(
    folder: Path, watch: type[TheoryCallback] | None, every: int = 1, **options: Any
) -> tuple[Any, Any, LoadedModel]:
    loaded = perturbed("float32")
    # Four rewards of one half and more in a group, so that every prompt has a gradient.
    trainer = make_trainer(loaded, folder, rewards=[1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1], max_grad_norm=0, **options)
    callback = None if watch is None else watch(trainer, every)
    if callback is not None:
        trainer.add_callback(callback)
    trainer.train()
    return trainer, callback, loaded


def parameters(loaded: LoadedModel) -> torch.Tensor:
    return torch.cat([value.detach().reshape(-1) for value in loaded.parameters.values()])


@pytest.mark.parametrize("name", SETTINGS)
def test_the_run_is_the_same_to_the_last_bit(name: str, tmp_path: Path) -> None:
    options = {"max_steps": 2, "learning_rate": 1e-2, **SETTINGS[name]}
    bare, _, untouched = run(tmp_path / "bare", None, **options)
    trainer, callback, loaded = run(tmp_path / "watched", Recording, **options)
    assert torch.equal(parameters(loaded), parameters(untouched))
    assert not torch.equal(parameters(loaded), parameters(perturbed("float32")))
    sums = callback.seen.sum(dim=0)
    assert float((sums - callback.applied).norm() / callback.applied.norm()) < 1e-5
    metrics = {"theory/cosine_mean", "theory/m", "theory/no_m_share", "theory/reward_variance", "theory/seconds"}
    for record, other in zip(trainer.state.log_history[:2], bare.state.log_history, strict=False):
        assert {key for key in record if not key.startswith("theory/")} == set(other)
        assert metrics - {"theory/m"} <= set(record)
        # Groups with 2, 3 and 1 of 4 rewards: variances 1/4, 3/16 and 3/16.
        assert_agree(record["theory/reward_variance"], (4 + 3 + 3) / 48, rtol=1e-6)
        assert_agree(record["theory/reward_std"], (2 + 2 * 3**0.5) / 12, rtol=1e-6)


@pytest.mark.parametrize("name", ["one pass", "accumulated", "checkpointed", "batch", "unscaled"])
def test_measured_gradients_are_those_of_the_prompts(name: str, tmp_path: Path) -> None:
    # With step size 0 the gradients can be taken again afterwards: the loss with all other prompts' advantages at 0.
    trainer, callback, loaded = run(tmp_path, Recording, max_steps=1, learning_rate=0.0, **SETTINGS[name])
    loaded.model.train()
    for i in range(len(PROMPTS)):
        loaded.model.zero_grad()
        for batch in trainer._buffered_inputs:
            own = torch.where(batch["theory_prompt"] == i, batch["advantages"], 0.0)
            trainer.compute_loss(loaded.model, {**batch, "advantages": own}).backward()
        alone = torch.cat([value.grad.reshape(-1) for value in loaded.parameters.values()])
        assert float(alone.norm()) > 0
        assert float((callback.seen[i] - alone).norm() / alone.norm()) < 1e-5
    # std of TRL with ddof 1 within groups of 2, 3 and 1 of 4 rewards, or over the whole batch.
    stds = {"unscaled": [1.0, 1.0, 1.0], "batch": [(3 / 11) ** 0.5 + 1e-4] * 3}
    divisor = torch.tensor(stds.get(name, [(1 / 3) ** 0.5 + 1e-4, 0.5 + 1e-4, 0.5 + 1e-4]))
    std = torch.tensor([0.5, 3**0.5 / 4, 3**0.5 / 4])
    record = trainer.state.log_history[0]
    for key, value in interaction_measures(callback.seen, std, weights=1 / divisor).items():
        if value is None:
            assert f"theory/{key}" not in record
        else:
            assert_agree(record[f"theory/{key}"], value, rtol=1e-5)


def test_trainer_is_left_as_it_was_even_by_a_failing_step(tmp_path: Path) -> None:
    loaded = perturbed("float32")
    trainer = make_trainer(loaded, tmp_path, max_steps=1)
    trainer.add_callback(TheoryCallback(trainer))
    compute = trainer._compute_loss
    # What somebody else has put in the place of a method stays.
    trainer._calculate_rewards = rewards = trainer._calculate_rewards

    def fail(model: Any, inputs: Any) -> None:
        compute(model, inputs)
        raise ArithmeticError

    trainer._compute_loss = fail
    with pytest.raises(ArithmeticError):
        trainer.train()
    assert not any("forward" in vars(each) for each in loaded.model.modules() if isinstance(each, torch.nn.Linear))
    trainer._compute_loss = compute
    trainer.train()
    assert not {"compute_loss", "training_step"} & set(vars(trainer))
    assert trainer._calculate_rewards is rewards


def test_every_other_step(tmp_path: Path) -> None:
    trainer, *_ = run(tmp_path, TheoryCallback, every=2, max_steps=3)
    assert ["theory/seconds" in record for record in trainer.state.log_history[:3]] == [True, False, True]


def test_prompts_without_scores_are_left_out(tmp_path: Path) -> None:
    loaded = perturbed("float32")
    rewards = [None] * GROUP + [1.0, None, 1.0, 0.0] + [1.0, 0.0, 0.0, 0.0]
    trainer = make_trainer(loaded, tmp_path, rewards=rewards, max_steps=1)
    trainer.add_callback(TheoryCallback(trainer))
    # TRL itself notes that a reward function returned None.
    trainer.train()
    record = trainer.state.log_history[0]
    assert record["theory/zero_gradients"] == 1
    assert_agree(record["theory/reward_variance"], (2 / 9 + 3 / 16) / 2, rtol=1e-6)


def test_gradients_that_are_not_finite_do_not_end_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loaded = perturbed("float32")
    trainer = make_trainer(loaded, tmp_path, rewards=[1, 0, 0, 1] * 3, max_steps=1)
    trainer.add_callback(TheoryCallback(trainer))
    compute = trainer._compute_loss
    trainer._compute_loss = lambda model, inputs: compute(model, inputs) * float("nan")
    trainer.train()
    assert "no diagnostics at step 0: gradients is 'not finite'" in caplog.text
    assert "theory/seconds" in trainer.state.log_history[0]


def test_what_cannot_be_watched_is_refused(tmp_path: Path) -> None:
    loaded = perturbed("float32")
    with pytest.raises(InputError, match="trainer is 'PeftModelForCausalLM'"):
        TheoryCallback(loaded.model)
    trainer = make_trainer(loaded, tmp_path)
    with pytest.raises(InputError, match="every is 0"):
        TheoryCallback(trainer, every=0)
    trainer.num_generations = 3
    with pytest.raises(InputError, match="group size G is 3"):
        TheoryCallback(trainer, split_half=True)
    trainer.num_generations = GROUP
    trainer.args.per_device_train_batch_size = GROUP + 1
    with pytest.raises(InputError, match=f"rows generated per process is {GROUP + 1}"):
        TheoryCallback(trainer)


@pytest.mark.parametrize("name", ["one pass", "accumulated", "checkpointed", "unscaled"])
def test_halves_of_groups(name: str, tmp_path: Path) -> None:
    rewards = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0]
    options = {"max_steps": 1, "learning_rate": 0.0, "max_grad_norm": 0, **SETTINGS[name]}
    loaded = perturbed("float32")
    trainer = make_trainer(loaded, tmp_path, rewards=rewards, **options)
    callback = Recording(trainer, split_half=True)
    trainer.add_callback(callback)
    trainer.train()
    assert float((callback.seen.sum(dim=0) - callback.applied).norm() / callback.applied.norm()) < 1e-5
    loaded.model.train()
    for part in range(2 * len(PROMPTS)):
        loaded.model.zero_grad()
        rows = []
        for batch in trainer._buffered_inputs:
            own = torch.where(batch["theory_prompt"] == part, batch["advantages"], 0.0)
            rows += own[own != 0].tolist()
            trainer.compute_loss(loaded.model, {**batch, "advantages": own}).backward()
        # One right and one wrong completion.
        assert sorted(value > 0 for value in rows) == [False, True]
        alone = torch.cat([value.grad.reshape(-1) for value in loaded.parameters.values()])
        assert float((callback.seen[part] - alone).norm() / alone.norm()) < 1e-5
    record = trainer.state.log_history[0]
    halves, table = callback.seen.view(len(PROMPTS), 2, -1), np.array(rewards).reshape(-1, GROUP)
    divisor = 1.0 if name == "unscaled" else (1 / 3) ** 0.5 + 1e-4
    for key, value in measures_of_halves(halves, table, np.full(3, 1 / divisor)).items():
        assert record.get(f"theory/{key}") == (None if value is None else pytest.approx(value, rel=1e-4)), key
    assert record["theory/halved_prompts"] == 3


@pytest.mark.parametrize("missing", [None, 0.5])
def test_the_run_with_halves_is_the_same_to_the_last_bit_and_other_rewards_are_not_halved(
    missing: float | None, tmp_path: Path
) -> None:
    rewards = [missing, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0]
    options = {"max_steps": 2, "learning_rate": 1e-2, "per_device_train_batch_size": ROWS // 4}
    ends = []
    for watched in (False, True):
        loaded = perturbed("float32")
        trainer = make_trainer(
            loaded, tmp_path / str(watched), rewards=rewards, gradient_accumulation_steps=4, **options
        )
        if watched:
            trainer.add_callback(TheoryCallback(trainer, split_half=True))
        trainer.train()
        ends.append(parameters(loaded))
    assert torch.equal(*ends)
    assert "theory/cosine_mean" in trainer.state.log_history[0]
    assert "theory/halved_prompts" not in trainer.state.log_history[0]
