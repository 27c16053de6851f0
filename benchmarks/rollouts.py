"""The Q table of SeqGAN's oracle task (setting S1), against the way public codes compute it.

S1: 5,000 tokens, LSTM with embedding and hidden size 32, T = 20, B = 64, the 12-filter
convolutional discriminator. The public style: for each completion, for each prefix, one step at a
time, ``torch.multinomial``, then ``conv2d``, ReLU, max-pool. It is linear in the completions, so
both sides run with the same small number of them.

CPU time of one thread, paired ratios within one run. Also shown: that ``tiled`` and ``reference``
give the same values. Floor: ``tiled`` with the discriminator at least 5 times the public style;
exits 1 when it is missed.
"""

# Shapes: B sequences, T steps, N completions, E embedding, C channel
from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from tokengym.agents import LSTMPolicy, Policy, action_values, sample
from tokengym.envs import Sequences, Vocabulary
from tokengym.rewards import ConvDiscriminator
from tokengym.rewards.discriminators import ConvNetwork

B, T, V = 64, 20, 5000
FLOOR = 5.0


@torch.no_grad()
def public_style(
    policy: Policy, discriminator: ConvDiscriminator, sequences: Sequences, completions: int
) -> torch.Tensor:
    """Q (B, T) by the double loop."""
    q_BT = torch.zeros(B, T)
    for _ in range(completions):
        for t in range(T):
            state = policy.initial_state(B)
            last_B = torch.full((B,), policy.vocabulary.bos)
            written = []
            for step in range(T):
                logits_BA, state = policy.step(last_B, state)
                if step <= t:
                    last_B = sequences.tokens_BT[:, step]
                else:
                    last_B = torch.multinomial(logits_BA.softmax(dim=1), 1)[:, 0]
                written.append(last_B)
            q_BT[:, t] += public_score(discriminator, torch.stack(written, dim=1))
    return q_BT / completions


def public_score(discriminator: ConvDiscriminator, tokens_BT: torch.Tensor) -> torch.Tensor:
    """The discriminator's probability by conv2d, bias and ReLU everywhere, then max-pool."""
    network = discriminator.network
    assert isinstance(network, ConvNetwork)
    network.eval()
    embedded_BCTE = network.embedding(tokens_BT)[:, None]
    pooled = []
    for weight, bias in network._filters():
        kernel = weight.transpose(1, 2)[:, None]  # (F, E, w) to (F, 1, w, E)
        windows = F.relu(F.conv2d(embedded_BCTE, kernel, bias))[:, :, :, 0]
        pooled.append(F.max_pool1d(windows, windows.shape[2])[:, :, 0])
    features = torch.cat(pooled, dim=1)
    return network._say(features, network.highway and network.highway(features)).sigmoid()


def cpu_seconds(run: Callable[[], object]) -> float:
    """CPU time of a call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    """Measure, print, and exit 1 below the floor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--completions", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    vocabulary = Vocabulary.from_tokens(map(str, range(V)), "words", eos=False)
    policy = LSTMPolicy(vocabulary, embedding=32, hidden=32).eval()
    discriminator = ConvDiscriminator()
    discriminator.prepare(vocabulary, T, "cpu")
    sequences = sample(policy, B, max_length=T, seed=options.seed)
    n = options.completions

    def engine(backend: str) -> torch.Tensor:
        return action_values(
            policy,
            sequences,
            discriminator,
            completions=n,
            backend=backend,  # type: ignore[arg-type]
            seed=options.seed,
        ).q_BT

    difference = float((engine("tiled") - engine("reference")).abs().max())  # warms up, too
    ratios: dict[str, list[float]] = {"public style": [], "reference": []}
    tiled: list[float] = []
    for _ in range(options.repeats):
        tiled.append(cpu_seconds(lambda: engine("tiled")))
        slow = cpu_seconds(lambda: public_style(policy, discriminator, sequences, n))
        ratios["public style"].append(slow / tiled[-1])
        ratios["reference"].append(cpu_seconds(lambda: engine("reference")) / tiled[-1])
    rows = {
        name: {
            "ratio": float(np.mean(values)),
            "se": float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else None,
        }
        for name, values in ratios.items()
    }
    result = {
        "setting": {"B": B, "T": T, "V": V, "completions": n, "seed": options.seed},
        "tiled_cpu_seconds": float(np.mean(tiled)),
        "ratio_to": rows,
        "largest_difference_of_values": difference,
    }
    table = Table("tiled against", "ratio", "standard error")
    for name, row in rows.items():
        table.add_row(name, f"{row['ratio']:.1f}", "-" if row["se"] is None else f"{row['se']:.1f}")
    console = Console()
    console.print(table)
    console.print(
        f"S1, N = {n}, seed {options.seed}: tiled {result['tiled_cpu_seconds']:.2f} CPU-seconds a "
        f"Q table; values differ from reference by at most {difference:.1e}"
    )
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    if rows["public style"]["ratio"] < FLOOR:  # type: ignore[operator]
        sys.exit(f"missed: {rows['public style']['ratio']:.1f} is below the floor of {FLOOR}")


if __name__ == "__main__":
    main()
