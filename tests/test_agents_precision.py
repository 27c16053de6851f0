"""Lower precision while writing: what it changes, by hand and by count; memory of large tiles."""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from tokengym.agents import GRUPolicy, Policy, action_values, sample
from tokengym.agents.completions import Plan, tiles
from tokengym.agents.precision import distribution_change, in_precision
from tokengym.envs import Vocabulary

from .conftest import PolicyMaker, TokenSum


def test_a_policy_is_rounded_in_a_copy(policy: Policy) -> None:
    assert in_precision(policy, None) is policy
    assert in_precision(policy, torch.float64) is policy
    rounded = in_precision(policy, torch.bfloat16)
    assert rounded.dtype == torch.bfloat16
    assert policy.dtype == torch.float64
    with pytest.raises(ValueError, match=r"dtype is torch\.int8"):
        in_precision(policy, torch.int8)


def test_the_change_of_a_rounded_bias_by_hand(vocabulary: Vocabulary) -> None:
    """Logits (1, 0, 0) + 1/512: bfloat16 has 8 bits, so the first is rounded to 1."""
    policy = GRUPolicy(vocabulary, embedding=2, hidden=2).eval()
    with torch.no_grad():
        policy.output.weight.zero_()
        policy.output.bias.copy_(torch.tensor([1 + 1 / 512, 0.0, 0.0]))
    exact = torch.tensor([1 + 1 / 512, 0.0, 0.0], dtype=torch.float64).softmax(0)
    rounded = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).softmax(0)
    found = distribution_change(policy, vocabulary.encode(["ab", "b"]), torch.bfloat16)
    kl = float((exact * (exact / rounded).log()).sum())
    assert found.kl == pytest.approx(kl, rel=1e-4)
    distance = float((exact - rounded).abs().sum() / 2)
    assert found.total_variation == pytest.approx(distance, rel=1e-4)
    assert found.largest_total_variation == pytest.approx(distance, rel=1e-4)


def test_the_change_is_small_and_none_without_rounding(
    make_policy: PolicyMaker, vocabulary: Vocabulary
) -> None:
    policy = make_policy(vocabulary, 3)
    sequences = sample(policy, 30, max_length=8)
    none = distribution_change(policy, sequences, torch.float64)
    assert (none.kl, none.total_variation, none.largest_total_variation) == (0.0, 0.0, 0.0)
    changes = [
        distribution_change(policy, sequences, dtype) for dtype in (torch.float32, torch.bfloat16)
    ]
    assert 0 < changes[0].total_variation < 1e-5 < changes[1].total_variation < 0.05
    assert 0 <= changes[0].kl < 1e-9 < changes[1].kl < 0.01
    assert changes[1].largest_total_variation > changes[1].total_variation
    with pytest.raises(ValueError, match="no tokens to compare"):
        distribution_change(policy, sequences[:0], torch.bfloat16)


def test_forbidden_logits_do_not_count(vocabulary: Vocabulary) -> None:
    policy = GRUPolicy(vocabulary, embedding=2, hidden=2).eval()
    with torch.no_grad():
        policy.output.bias[1] = -torch.inf
    found = distribution_change(policy, vocabulary.encode(["aa"]), torch.bfloat16)
    assert 0 <= found.kl < 0.01


def test_writing_in_bfloat16(make_policy: PolicyMaker, vocabulary: Vocabulary) -> None:
    """The tokens of the rounded policy itself, with its log-probabilities; values in our dtype."""
    policy = make_policy(vocabulary, 0).float()
    rounded = in_precision(policy, torch.bfloat16)
    found = sample(policy, 20, max_length=6, seed=1, dtype=torch.bfloat16)
    expected = sample(rounded, 20, max_length=6, seed=1)
    assert torch.equal(found.tokens_BT, expected.tokens_BT)
    assert found.log_probs_BT is not None
    assert found.log_probs_BT.dtype == torch.float32
    how = {"completions": 3, "seed": 2}
    values = action_values(policy, found, TokenSum(), dtype=torch.bfloat16, **how)  # type: ignore
    same = action_values(rounded, found, TokenSum(), **how)  # type: ignore[arg-type]
    assert values.q_BT.dtype == torch.float32
    torch.testing.assert_close(values.q_BT.bfloat16(), same.q_BT)


def test_threads_change_nothing(vocabulary: Vocabulary) -> None:
    torch.manual_seed(0)
    policy = GRUPolicy(vocabulary).double().eval()
    sequences = sample(policy, 8, max_length=4)
    drawn = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            plan = Plan(policy, sequences, completions=8, seed=1)
            drawn.append(torch.cat([tile.tokens_RT for tile in tiles(plan, "tiled")]))
        finally:
            torch.set_num_threads(1)
    assert torch.equal(*drawn)


_S2_ROWS = """
import resource, torch
from tokengym.agents import LSTMPolicy, sample
from tokengym.agents.completions import Plan, tiles
from tokengym.envs import Vocabulary

torch.set_num_threads(1)
vocabulary = Vocabulary.from_tokens(map(str, range(30)), "words", eos=False)
policy = LSTMPolicy(vocabulary, embedding=512, hidden=512, layers=2).eval()
peaks = []
for batch in (64, 256):
    sequences = sample(policy, batch, max_length=3)
    for tile in tiles(Plan(policy, sequences, completions=16), "tiled"):
        pass
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(*peaks)
"""


@pytest.mark.slow
def test_a_tile_bounds_the_memory() -> None:
    """Rows of the size of setting S2 (2-layer LSTM, H = 512), 1,024 and 4,096 a prefix.

    No tensor of the tiled backend has more rows than a tile; T adds tokens alone, 8 bytes each.
    Peaks of a process of its own, in KiB, Python and torch included.
    """
    program = f"import sys; sys.path[:0] = {sys.path!r}\n" + _S2_ROWS
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    print(done.stdout)
    first, second = map(int, done.stdout.split())
    assert first < 2 * 2**20
    assert second - first < 64 * 2**10  # untiled, its gates alone would take 32 MiB a layer more
