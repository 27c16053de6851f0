"""SeqGAN's oracle: its arithmetic, its likelihood, its known values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokengym.envs import DataError, LSTMOracle, Sequences, make_task


def random_weights(V: int, E: int, H: int, seed: int = 0) -> dict[str, Any]:
    draw = np.random.default_rng(seed).standard_normal
    weights = {"embedding": draw((V, E)), "W_out": draw((H, V)), "b_out": draw(V)}
    for gate in "ifoc":
        weights |= {f"W_{gate}": draw((E, H)), f"U_{gate}": draw((H, H)), f"b_{gate}": draw(H)}
    return weights


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def log_prob_by_hand(weights: dict[str, Any], tokens: list[int]) -> list[float]:
    h = c = np.zeros(len(weights["U_i"]))
    x, found = weights["embedding"][0], []
    for token in tokens:
        gate = {
            g: x @ weights[f"W_{g}"] + h @ weights[f"U_{g}"] + weights[f"b_{g}"] for g in "ifoc"
        }
        c = sigmoid(gate["f"]) * c + sigmoid(gate["i"]) * np.tanh(gate["c"])
        h = sigmoid(gate["o"]) * np.tanh(c)
        logits = h @ weights["W_out"] + weights["b_out"]
        found.append(logits[token] - np.log(np.exp(logits).sum()))
        x = weights["embedding"][token]
    return found


def test_log_prob_is_the_formula(tmp_path: Path) -> None:
    weights = random_weights(V=7, E=3, H=4)
    np.savez(tmp_path / "oracle.npz", **weights)
    oracle = LSTMOracle.from_npz(tmp_path / "oracle.npz", length=5)
    tokens = [[3, 0, 6, 6, 1], [0, 0, 0, 0, 0]]
    sequences = Sequences.from_tokens(torch.tensor(tokens), oracle.vocabulary)
    expected = [log_prob_by_hand(weights, row) for row in tokens]
    np.testing.assert_allclose(oracle.log_prob(sequences), expected, atol=1e-5)


def test_samples_have_the_likelihood_that_is_said() -> None:
    """Frequencies of the first two tokens against their probabilities, chi-square."""
    oracle = LSTMOracle(random_weights(V=3, E=2, H=2), length=2)
    n = 20_000
    found = oracle.sample(n, seed=1).tokens_BT
    counts = torch.bincount(found[:, 0] * 3 + found[:, 1], minlength=9).double()
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    log_p = oracle.log_prob(Sequences.from_tokens(pairs, oracle.vocabulary)).sum(dim=1)
    expected = log_p.double().exp() * n
    assert expected.sum().item() == pytest.approx(n, rel=1e-5)
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    assert chi_square < 26.1  # 8 degrees of freedom: exceeded with probability 0.001


def test_known_values() -> None:
    """SeqGAN's size: others' draw gave 11.43 for uniform tokens and 5.754 for its own samples.

    Another draw of the weights gives other values; over oracles they spread by a few tenths.
    """
    oracle = LSTMOracle.random(seed=0)
    n = 200
    own = -oracle.log_prob(oracle.sample(n)).mean().item()
    uniform_BT = torch.randint(0, 5000, (n, 20), generator=torch.Generator().manual_seed(0))
    uniform = -oracle.log_prob(Sequences.from_tokens(uniform_BT, oracle.vocabulary)).mean().item()
    assert own == pytest.approx(5.754, abs=0.6)
    assert uniform == pytest.approx(11.43, abs=0.8)


def test_one_seed_one_result() -> None:
    first, second = LSTMOracle.random(seed=3, num_tokens=50), LSTMOracle.random(3, num_tokens=50)
    assert torch.equal(first.sample(4, seed=5).tokens_BT, second.sample(4, seed=5).tokens_BT)
    assert not torch.equal(first.sample(4, seed=5).tokens_BT, first.sample(4, seed=6).tokens_BT)


def test_the_task_rewards_the_mean_log_probability() -> None:
    task = make_task("tokengym/Oracle-v0", data_size=8)
    assert task.data is not None
    assert task.data.tokens_BT.shape == (8, 20)
    scores = task.reward(task.data)
    assert task.source is not None
    expected = task.source.log_prob(task.data).mean(dim=1)
    torch.testing.assert_close(scores.values_B, expected)


def test_files_that_are_no_oracle(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot load an oracle from .*none\.npz"):
        LSTMOracle.from_npz(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match="cannot load"):
        LSTMOracle.from_npz(tmp_path / "text.npz")
    weights = random_weights(5, 3, 4)
    np.savez(tmp_path / "shape.npz", **{**weights, "b_f": np.zeros(9)})
    with pytest.raises(DataError, match=r"b_f has shape \(9,\); expected \(4,\)"):
        LSTMOracle.from_npz(tmp_path / "shape.npz")
    weights.pop("U_o")
    np.savez(tmp_path / "missing.npz", **weights)
    with pytest.raises(DataError, match="U_o"):
        LSTMOracle.from_npz(tmp_path / "missing.npz")
    np.savez(tmp_path / "object.npz", embedding=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="cannot load"):
        LSTMOracle.from_npz(tmp_path / "object.npz")


def test_arrays_that_are_no_oracle(tmp_path: Path) -> None:
    weights = random_weights(5, 3, 4)
    cases: dict[str, tuple[object, str]] = {
        "scalar": (np.float64(1.0), "U_i has 0 axes; expected 2"),
        "nan": (np.full((4, 4), np.nan), "U_i is not finite"),
        "huge": (np.full((4, 4), 1e39), "U_i is not finite everywhere in float32"),
        "words": (np.full((4, 4), "x"), "cannot load"),
    }
    for name, (array, message) in cases.items():
        np.savez(tmp_path / f"{name}.npz", **{**weights, "U_i": array})
        with pytest.raises(DataError, match=message):
            LSTMOracle.from_npz(tmp_path / f"{name}.npz")
    np.save(tmp_path / "one.npy", weights["b_i"])
    with pytest.raises(DataError, match="a single array"):
        LSTMOracle.from_npz(tmp_path / "one.npy")
    np.savez_compressed(tmp_path / "damaged.npz", **weights)
    content = bytearray((tmp_path / "damaged.npz").read_bytes())
    content[60:90] = bytes(30)  # within the compressed bytes of the first array
    (tmp_path / "damaged.npz").write_bytes(content)
    with pytest.raises(DataError, match="cannot load"):
        LSTMOracle.from_npz(tmp_path / "damaged.npz")
