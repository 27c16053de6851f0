"""Constraints where agents write: sampling, completions, predictions, the policy gradient."""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

import itertools
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tokengym
import torch
from tokengym.agents import (
    ORGAN,
    CheckpointError,
    GRUPolicy,
    action_values,
    load_agent,
    sample,
)
from tokengym.agents.checkpoint import save_checkpoint
from tokengym.agents.completions import Plan, Scheme, tiles
from tokengym.agents.losses import kl_divergence, token_log_probs
from tokengym.envs import (
    BalancedBrackets,
    Constraint,
    ForbiddenTokens,
    MinimumLength,
    NoRepetition,
    Sequences,
    SMILESSyntax,
    Task,
    TokenEnv,
    TokenVectorEnv,
    Vocabulary,
)
from tokengym.envs.categorical import sample_categorical

torch.set_num_threads(1)

T = 5
LETTERS = Vocabulary.from_tokens(["a", "b", "c"], "characters")
ENDLESS = Vocabulary.from_tokens(["a", "b", "c"], "characters", eos=False)
SMILES = Vocabulary.from_tokens([*"CNOF()=#123cn", "Cl", "[N+]"], "smiles")
BOTH = MinimumLength(2, on_empty="raise") & NoRepetition(1)
SYNTAX = SMILESSyntax(on_empty="raise")


def make_policy(vocabulary: Vocabulary, seed: int = 0) -> GRUPolicy:
    torch.manual_seed(seed)
    policy = GRUPolicy(vocabulary, embedding=5, hidden=7)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(2)  # far enough from uniform that a mistake shows
    return policy.double().eval()


@tokengym.objective
def share_of_first(texts: list[str]) -> list[float | None]:
    return [(text.count("a") + text.count("C")) / 10 for text in texts]


def make_task(vocabulary: Vocabulary, constraint: Constraint | None, length: int = T) -> Task:
    return Task(
        name="Small",
        vocabulary=vocabulary,
        max_length=length,
        reward=share_of_first,
        constraint=constraint,
    )


def constrained_log_probs(
    policy: GRUPolicy, sequences: Sequences, constraint: Constraint
) -> torch.Tensor:
    masks_BTA = constraint.bound(policy.vocabulary, sequences.tokens_BT.shape[1]).along(
        sequences.tokens_BT
    )
    logits_BTA = policy(sequences.tokens_BT).masked_fill(~masks_BTA, -torch.inf)
    return token_log_probs(logits_BTA, sequences.tokens_BT, sequences.mask_BT)


def test_what_is_masked_is_never_drawn() -> None:
    logits_RA = torch.full((3, 4), -torch.inf)
    logits_RA[:, 2] = torch.tensor([-50.0, 0.0, 50.0])
    for uniform in (0.0, 0.5, 1 - 2**-24):
        drawn_R = sample_categorical(logits_RA.clone(), torch.full((3,), uniform))
        assert drawn_R.tolist() == [2, 2, 2]


@pytest.mark.parametrize("vocabulary", [LETTERS, ENDLESS])
def test_constrained_probabilities_sum_to_one(vocabulary: Vocabulary) -> None:
    pad, eos = vocabulary.pad, vocabulary.eos
    lengths = range(T + 1) if eos is not None else [T]
    rows = [
        [*p, *([] if eos is None or n == T else [eos]), *[pad] * (T - n - 1)]
        for n in lengths
        for p in itertools.product(range(3), repeat=n)
    ]
    every = Sequences.from_tokens(torch.tensor(rows), vocabulary)
    policy = make_policy(vocabulary)
    log_probs_B = constrained_log_probs(policy, every, BOTH).sum(dim=1)
    total = log_probs_B.exp().sum()
    assert float(total.detach()) == pytest.approx(1.0, abs=1e-12)
    # The score has mean zero, as a policy gradient needs: the derivative of that sum.
    total.backward()
    for parameter in policy.parameters():
        assert float(parameter.grad.abs().max()) < 1e-12  # type: ignore[union-attr]


@pytest.mark.parametrize(("vocabulary", "constraint"), [(LETTERS, BOTH), (SMILES, SYNTAX)])
def test_sampled_log_probs_agree_with_teacher_forcing(
    vocabulary: Vocabulary, constraint: Constraint
) -> None:
    policy = make_policy(vocabulary)
    written = sample(policy, 200, max_length=9, seed=3, constraint=constraint)
    assert written.log_probs_BT is not None
    expected_BT = constrained_log_probs(policy, written, constraint)
    torch.testing.assert_close(written.log_probs_BT, expected_BT, rtol=0, atol=1e-12)
    assert expected_BT.isfinite().all()
    free_BT = token_log_probs(policy(written.tokens_BT), written.tokens_BT, written.mask_BT)
    assert (free_BT < expected_BT - 1e-3).any()  # the constraint does change them


def test_sampling_depends_on_no_tile_and_a_free_constraint_changes_nothing() -> None:
    policy = make_policy(SMILES)
    written = [
        sample(policy, 50, max_length=9, constraint=SYNTAX, tile_rows=rows).tokens_BT
        for rows in (50, 7)
    ]
    assert torch.equal(*written)
    free = sample(policy, 50, max_length=9, constraint=MinimumLength(0)).tokens_BT
    assert torch.equal(free, sample(policy, 50, max_length=9).tokens_BT)


@pytest.mark.parametrize(("vocabulary", "constraint"), [(LETTERS, BOTH), (SMILES, SYNTAX)])
def test_the_environments_give_the_masks_that_sampling_used(
    vocabulary: Vocabulary, constraint: Constraint
) -> None:
    length = 9
    task = make_task(vocabulary, constraint, length)
    written = sample(make_policy(vocabulary), 8, max_length=length, constraint=constraint)
    masks_BTA = constraint.bound(vocabulary, length).along(written.tokens_BT).numpy()
    vector = TokenVectorEnv(task, 8, autoreset_mode="Disabled")
    _, infos = vector.reset()
    longest = int(written.lengths_B.min())
    for step in range(longest):
        np.testing.assert_array_equal(infos["action_mask"], masks_BTA[:, step])
        np.testing.assert_array_equal(vector.action_masks(), masks_BTA[:, step])
        infos = vector.step(written.tokens_BT[:, step].numpy())[-1]
    env = TokenEnv(task)
    for tokens_T, masks_TA, end in zip(
        written.tokens_BT.tolist(), masks_BTA, written.lengths_B.tolist(), strict=True
    ):
        _, info = env.reset()
        for step in range(end):
            np.testing.assert_array_equal(info["action_mask"], masks_TA[step])
            _, _, terminated, _, info = env.step(tokens_T[step])
        assert terminated
        assert "forbidden" not in info


@pytest.mark.parametrize("scheme", get_args(Scheme))
@pytest.mark.parametrize(
    ("vocabulary", "constraint"), [(LETTERS, BOTH), (ENDLESS, BOTH), (SMILES, SYNTAX)]
)
def test_both_backends_complete_with_the_same_tokens(
    vocabulary: Vocabulary, constraint: Constraint, scheme: Scheme
) -> None:
    policy = make_policy(vocabulary)
    sequences = sample(policy, 6, max_length=8, constraint=constraint)
    found: list[dict[tuple[int, int, int], list[int]]] = []
    for backend, rows in (("reference", 1), ("tiled", 512), ("tiled", 5)):
        plan = Plan(
            policy,
            sequences,
            completions=3,
            scheme=scheme,
            seed=1,
            constraint=constraint,
            tile_rows=rows,
            compact_every=2,
        )
        completions: dict[tuple[int, int, int], list[int]] = {}
        for tile in tiles(plan, backend):  # type: ignore[arg-type]
            for b, n, tokens_T in zip(
                tile.b_R.tolist(), tile.n_R.tolist(), tile.tokens_RT.tolist(), strict=True
            ):
                completions[b, tile.t, n] = tokens_T
        found.append(completions)
    assert found[0]
    assert found[0] == found[1] == found[2]
    bound = constraint.bound(vocabulary, 8)
    tokens_RT = torch.tensor(list(found[0].values()))
    masks_RTA = bound.along(tokens_RT)
    written = Sequences.from_tokens(tokens_RT, vocabulary)
    index_RT = tokens_RT.clamp(max=vocabulary.num_actions - 1)
    assert masks_RTA.gather(2, index_RT[:, :, None])[:, :, 0][written.mask_BT].all()


def test_values_are_of_constrained_completions() -> None:
    # With brackets alone and T = 4, everything after "(" is decided: "()()", "(())" or "()".
    vocabulary = Vocabulary.from_tokens(["(", ")"], "characters")
    brackets = BalancedBrackets(on_empty="raise")

    def is_balanced(texts: list[str]) -> list[float | None]:
        return [float(text in ("", "()", "()()", "(())")) for text in texts]

    reward = tokengym.objective(is_balanced)
    policy = make_policy(vocabulary)
    sequences = sample(policy, 20, max_length=4, constraint=brackets)
    with_it = action_values(policy, sequences, reward, completions=4, constraint=brackets)
    assert (with_it.q_BT[sequences.mask_BT] == 1).all()
    without = action_values(policy, sequences, reward, completions=4)
    assert (without.q_BT[sequences.mask_BT] < 1).any()


def test_prompts_that_the_constraint_forbids() -> None:
    policy = make_policy(LETTERS)
    written = sample(policy, 5, max_length=T, prompt="ab", constraint=BOTH)
    assert all(text.startswith("ab") for text in written.texts)
    with pytest.raises(ValueError, match=r"the prompt 'aa' contradicts the constraint Minimum.*at"):
        sample(policy, 5, max_length=T, prompt="aa", constraint=BOTH)


def make_agent(constraint: Constraint | None, **options: float) -> ORGAN:
    return ORGAN(
        "GRU",
        TokenEnv(make_task(SMILES, constraint, 12)),
        batch_size=16,
        completions=2,
        policy_kwargs={"embedding": 8, "hidden": 16},
        seed=0,
        device="cpu",
        **options,  # type: ignore[arg-type]
    )


def obeys(constraint: Constraint, sequences: Sequences) -> bool:
    tokens_BT = sequences.tokens_BT
    masks_BTA = constraint.bound(sequences.vocabulary, tokens_BT.shape[1]).along(tokens_BT)
    index_BT = tokens_BT.clamp(max=sequences.vocabulary.num_actions - 1)
    chosen_BT = masks_BTA.gather(2, index_BT[:, :, None])[:, :, 0]
    return bool(chosen_BT[sequences.mask_BT].all())


def test_an_agent_learns_under_the_constraint_of_its_task() -> None:
    agent = make_agent(SYNTAX, prior_coefficient=0.1)
    rounds: list[Sequences] = []
    train_round = agent._train_round

    def watched() -> object:
        made = train_round()
        rounds.append(made.sequences)
        return made

    agent._train_round = watched  # type: ignore[assignment, method-assign]
    agent.learn(300)
    assert len(rounds) >= 2
    assert all(obeys(SYNTAX, sequences) for sequences in rounds)
    assert all(bool(parameter.isfinite().all()) for parameter in agent.policy.parameters())
    assert obeys(SYNTAX, agent.sample(50))
    assert agent.constraint is not None
    assert agent.constraint.fallbacks == 0


def test_a_run_goes_on_where_a_constraint_leaves_nothing_and_counts_it() -> None:
    # After F nothing but the end is syntax, and the end is too early.
    constraint = MinimumLength(12) & SMILESSyntax()
    agent = make_agent(constraint)
    with pytest.warns(UserWarning, match="left no action in row .*: the end token is allowed"):
        agent.learn(50)
    assert agent.constraint is not None
    assert agent.constraint.fallbacks == constraint.fallbacks > 0


def test_the_gradient_is_of_what_was_drawn_from() -> None:
    # The entropy that a round logs is -log p of its tokens; sampling says what that was.
    agent = make_agent(SYNTAX)
    made = agent._train_round()
    log_probs_BT = made.sequences.log_probs_BT
    assert log_probs_BT is not None
    expected = float(-log_probs_BT.sum() / made.sequences.num_tokens)
    assert made.metrics["train/entropy"] == pytest.approx(expected, rel=1e-5)


# --- checkpoints ----------------------------------------------------------------------------------


def test_a_saved_agent_keeps_the_constraint(tmp_path: Path) -> None:
    constraint = SYNTAX & ForbiddenTokens(["N"])
    agent = make_agent(constraint)
    agent.save(tmp_path / "agent")
    loaded = load_agent(tmp_path / "agent")
    assert loaded.task is None
    assert repr(loaded.constraint) == repr(constraint)
    before, after = agent.sample(50, seed=1), loaded.sample(50, seed=1)
    assert torch.equal(before.tokens_BT, after.tokens_BT)
    assert torch.equal(before.log_probs_BT, after.log_probs_BT)  # type: ignore[arg-type]
    assert obeys(constraint, after)
    assert any("N" in text for text in make_agent(None).sample(50, seed=1).texts)
    observation, _ = TokenEnv(make_task(SMILES, constraint, 12)).reset(options={"prompt": "CF"})
    assert loaded.predict(observation)[0] == SMILES.eos  # fluorine has one bond
    for writer in (agent, loaded):
        begun = writer.sample(20, seed=1, prompt="C(")
        assert all(text.startswith("C(") for text in begun.texts)
        assert obeys(constraint, begun)
        with pytest.raises(ValueError, match=r"prompt 'CF\(' contradicts the constraint SMILESSyn"):
            writer.sample(2, prompt="CF(")
    loaded.save(tmp_path / "again")
    assert load_agent(tmp_path / "again").sample(50, seed=1).texts == before.texts
    other = load_agent(tmp_path / "agent", TokenEnv(make_task(SMILES, SMILESSyntax(), 12)))
    assert repr(other.constraint) == "SMILESSyntax()"  # an environment has its own


class NoOxygen(Constraint):
    """One of a user's own."""

    def mask(self, tokens_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        mask_A = torch.arange(self.vocabulary.num_actions) != self.vocabulary.tokens.index("O")
        return mask_A.expand(len(tokens_BT), -1)


def test_a_constraint_of_ones_own_has_to_be_given_again(tmp_path: Path) -> None:
    constraint = NoOxygen() & MinimumLength(2)
    agent = make_agent(constraint)
    agent.save(tmp_path / "agent")
    message = (
        r"agent.safetensors .* the name alone: .*NoOxygen.*load\(path, constraint=\.\.\.\), or an"
    )
    with pytest.raises(CheckpointError, match=message):
        ORGAN.load(tmp_path / "agent")
    expected = agent.sample(30, seed=2).texts
    for again in (constraint, f"{__name__}:NoOxygen & minimum_length(2)"):
        loaded = ORGAN.load(tmp_path / "agent", constraint=again)
        assert loaded.sample(30, seed=2).texts == expected
    env = TokenEnv(make_task(SMILES, constraint, 12))
    assert ORGAN.load(tmp_path / "agent", env).sample(30, seed=2).texts == expected
    with pytest.raises(ValueError, match="both an environment and the constraint 'selfies'"):
        ORGAN.load(tmp_path / "agent", env, constraint="selfies")
    with pytest.raises(ValueError, match="unknown constraint 'smiles'"):
        ORGAN.load(tmp_path / "agent", constraint="smiles")


def test_a_damaged_constraint_is_named(tmp_path: Path) -> None:
    agent = make_agent(SYNTAX)
    tensors, state = agent._checkpoint()
    damaged: list[object] = [
        {"name": "minimum_length", "options": {"token": 3}},
        {"name": "selfies"},
        3,
        [],
    ]
    for value in damaged:
        save_checkpoint(tmp_path / "a.safetensors", tensors, {**state, "constraint": value})
        with pytest.raises(CheckpointError, match=r"a\.safetensors does not fit this version"):
            ORGAN.load(tmp_path / "a")


# --- predictions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("deterministic", [True, False])
def test_predictions_obey(deterministic: bool) -> None:
    agent = make_agent(SYNTAX)
    env = TokenEnv(make_task(SMILES, SMILESSyntax(on_forbidden="raise"), 12))
    for _ in range(10):
        observation, _ = env.reset()
        terminated = False
        while not terminated:
            action, _ = agent.predict(observation, deterministic=deterministic)
            observation, _, terminated, _, _ = env.step(action)
    finished = agent.sample(4).tokens_BT.numpy()
    assert agent.predict(finished)[0].shape == (4,)  # nothing to say after the end, and no error


def test_divergence_of_constrained_policies() -> None:
    logits_BTA = torch.tensor([[[1.0, 2.0, 3.0]]], requires_grad=True)
    prior_BTA = torch.tensor([[[0.5, 0.0, 9.0]]])
    hidden_BTA = torch.tensor([[[False, False, True]]])
    mask_BT = torch.tensor([[True]])
    found = kl_divergence(
        logits_BTA.masked_fill(hidden_BTA, -torch.inf),
        prior_BTA.masked_fill(hidden_BTA, -torch.inf),
        mask_BT,
    )
    expected = kl_divergence(logits_BTA[:, :, :2], prior_BTA[:, :, :2], mask_BT)
    torch.testing.assert_close(found, expected)
    (gradient_BTA,) = torch.autograd.grad(found, logits_BTA, retain_graph=True)
    (expected_BTA,) = torch.autograd.grad(expected, logits_BTA)
    torch.testing.assert_close(gradient_BTA, expected_BTA)


def test_a_prefix_that_broke_the_rule_is_written_on_freely() -> None:
    """As the environment does: from a forbidden token on, nothing is forbidden."""
    vocabulary = Vocabulary.from_tokens(["(", ")"], "characters", eos=False)
    task = make_task(vocabulary, BalancedBrackets() & ForbiddenTokens([")"]), 8)
    agent = ORGAN("GRU", TokenEnv(task), policy_kwargs={"hidden": 4, "embedding": 4}, seed=0)
    broken = np.full((40, 8), vocabulary.pad)
    broken[:, 0] = 1
    assert set(agent.predict(broken)[0]) == {0, 1}
    with pytest.warns(UserWarning, match="left no action"):
        assert agent.sample(4).lengths_B.tolist() == [8] * 4
