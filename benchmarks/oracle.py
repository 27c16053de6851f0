"""SeqGAN's synthetic task, two-sided: what adversarial rounds add to maximum likelihood.

    python -m benchmarks.oracle --search --only search --seeds 1    # the best MLE first
    python -m benchmarks.oracle

The paper (Yu et al., 2017, arXiv 1609.05473) reports NLL_oracle alone, how probable the source
finds what was written. A policy that only sharpens lowers it, so NLL_gen stands beside it, how
probable the policy finds what the source writes (Zhu et al., 2018, arXiv 1802.01886), and two
controls: a constant reward without a baseline, which tells nothing of the source, and the same MLE
written at other temperatures (Caccia et al., 2020, arXiv 1811.02549).

The verdict is *beyond*: the nats a token by which an agent's NLL_gen is below that of its own MLE
at the temperature at which this has the agent's NLL_oracle. The temperature is interpolated between
those of the curve, NLL_gen at it is computed, on the same sequences; the standard error counts that
of NLL_oracle, times the curve's slope.

Sources and data are those of seed 0, 10,000 sequences, of which every tenth is held out to stop by;
the seeds are those of policies and agents. The MLE is the candidate with the lowest NLL on those,
of which were searched, else the plain one. Floor: no NLL_gen is below the source's entropy by more
than three standard errors; exits 1 where one is.
"""

# Shapes: B sequences, T steps, K points of a curve
from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from tokengym.agents import Policy, Reinforce, SeqGAN, sample
from tokengym.agents.pretraining import log_likelihoods
from tokengym.envs import Sequences
from tokengym.train.evaluation import HELD_OUT_SEED, figures_of_samples, further_figures
from tokengym.train.metrics import Estimate, mean_of
from tokengym.train.metrics.hidden import output_layer

from .oracle_mle import best, fitted, fitting, oracle_task, search, sizes
from .results import CPU_SECONDS, Figures, Row, Study, parser_of, table

MLE = "**MLE**"  # at temperature 1
Curve = dict[float, Figures]  # an MLE's figures by temperature


# --- what is written ----------------------------------------------------------------------------


@contextmanager
def tempered(policy: Policy, temperature: float) -> Iterator[Policy]:
    """The policy with its logits divided by a temperature, in whatever it does."""
    layer = output_layer(policy)
    assert layer is not None
    hook = layer.register_forward_hook(lambda module, inputs, logits: logits / temperature)
    try:
        yield policy
    finally:
        hook.remove()


def figures(study: Study, policy: Policy, seed: int) -> Figures:
    """Both NLLs, own entropy and the share of different tokens and pairs, of samples."""
    of = sizes(study)
    task = oracle_task(of.data)
    assert task.data is not None
    written = sample(policy, of.samples, max_length=task.max_length, seed=seed)
    found = figures_of_samples(task, written, task.data.texts, policy)
    return found | further_figures("ngrams", task, written, task.data.texts)


def of_source(study: Study) -> Figures:
    """The floors: what the source itself has."""
    of = sizes(study)
    task = oracle_task(of.data)
    assert task.source is not None
    assert task.data is not None
    written, entropy = task.source.sample(of.samples, seed=1), task.source.entropy()
    floor = Estimate(entropy.value / task.max_length, entropy.se / task.max_length, of.samples)
    found = figures_of_samples(task, written, task.data.texts)
    found |= further_figures("ngrams", task, written, task.data.texts)
    return {**found, "nll_data": floor, "own_entropy": floor}


def curve(study: Study, mle: str, seed: int, wanted: bool | None = None) -> Curve:
    """The figures of an MLE by temperature, as far as they are there."""

    def at(temperature: float) -> Figures:
        with tempered(fitted(study, mle, seed).policy, temperature) as policy:
            return figures(study, policy, seed)

    points: Curve = {}
    for t in sizes(study).temperatures:
        settings = {"mle": fitting(study, mle), **asdict(sizes(study)), "temperature": t}
        label = f"MLE, temperature {t:g}"
        found = study.case(label, seed, settings, partial(at, t), wanted=wanted)
        if found is not None:
            points[t] = found
    return points


# --- agents -------------------------------------------------------------------------------------


def constant(texts: list[str]) -> list[float]:
    """A reward that tells nothing: what a discriminator says that cannot tell."""
    return [0.5] * len(texts)


AGENTS: dict[str, tuple[type[Reinforce], bool, dict[str, Any]]] = {
    # what it is, whether a discriminator rewards it, and its options
    "constant reward": (Reinforce, False, {"baseline": "none", "learning_rate": 0.01}),
    "constant reward, slowly": (Reinforce, False, {"baseline": "none", "learning_rate": 0.001}),
    "SeqGAN, the paper's": (
        SeqGAN,
        True,
        {"baseline": "none", "scheme": "plain", "rollout_update": 0.2, "learning_rate": 0.01},
    ),
    "SeqGAN, leave-one-out": (SeqGAN, True, {"learning_rate": 0.001}),
    "Reinforce": (Reinforce, True, {"learning_rate": 0.001}),
}


def learnt(study: Study, label: str, mle: str, seed: int) -> Figures:
    """An agent's figures, begun with the MLE of its seed, and how far beyond that it is."""
    of, (kind, judged, options) = sizes(study), AGENTS[label]
    if kind is SeqGAN:
        options = {**options, "completions": of.completions}
    reward = of.discriminator if judged else constant
    env = gym.make("tokengym/Oracle-v0", data_size=of.data, reward=reward)
    agent = kind(fitted(study, mle, seed).policy, env, seed=seed, device="cpu", **options)
    agent.pretrain(epochs=0, discriminator_steps=of.discriminator_steps)
    agent.learn(of.rounds * agent.batch_size * agent.max_length)
    found = figures(study, agent.policy, seed)
    points = curve(study, mle, seed, wanted=True)
    task, start = oracle_task(of.data), fitted(study, mle, seed).policy
    assert task.source is not None
    real = task.source.sample(of.samples, seed=HELD_OUT_SEED)
    return {**found, "beyond": beyond(agent.policy, found["nll_oracle"], start, points, real)}


def beyond(
    policy: Policy, nll_oracle: Estimate, mle: Policy, points: Curve, real: Sequences
) -> Estimate:
    """NLL_gen of the MLE, as sharp as this policy is, less the policy's; nats a token.

    Args:
        policy: what an agent learnt.
        nll_oracle: of what it writes.
        mle: what it began with.
        points: the MLE's figures at temperatures.
        real: fresh sequences of the source.

    Returns:
        NaN where the policy's NLL_oracle is outside the curve.
    """
    by_x = sorted((f["nll_oracle"].value, f["nll_data"].value, t) for t, f in points.items())
    x_K, y_K, temperature_K = np.array(by_x).T
    if not x_K[0] <= nll_oracle.value <= x_K[-1]:
        return Estimate(math.nan, math.nan, len(real))
    temperature = float(np.interp(nll_oracle.value, x_K, temperature_K))
    slope = float(np.interp(nll_oracle.value, x_K, np.gradient(y_K, x_K)))
    gain_BT = log_likelihoods(policy, real)
    with tempered(mle, temperature) as sharp:
        gain_BT -= log_likelihoods(sharp, real)
    gain = mean_of((gain_BT.double().sum(dim=1) / real.lengths_B).tolist())
    spread = max(figures["nll_oracle"].se for figures in points.values())
    error = math.hypot(gain.se, slope * math.hypot(nll_oracle.se, spread))
    return Estimate(gain.value, error, len(real))


def rows(study: Study, mle: str) -> list[Row]:
    """The source, the MLE along its curve, and the agents."""
    shared = {"mle": fitting(study, mle), **asdict(sizes(study))}
    source = study.case("source", 0, asdict(sizes(study)), partial(of_source, study))
    found = [Row("source: the floors", [] if source is None else [source])]
    curves = [curve(study, mle, seed) for seed in range(study.seeds)]
    for t in sizes(study).temperatures:
        label = MLE if t == 1 else f"MLE at temperature {t:g}"
        found.append(Row(label, [points[t] for points in curves if t in points]))
    for label, (_, judged, options) in AGENTS.items():
        settings = {**shared, **options, "judged": judged}
        found.append(study.row(label, settings, partial(learnt, study, label, mle)))
    return found


def verdict(found: list[Row]) -> str:
    """Who is beyond the curve, by twice the standard error; outside it, who is worse both ways."""
    said = []
    by_label = {row.label: row for row in found}
    for row in found:
        gain = row["beyond"]
        if gain is None:
            continue
        if math.isnan(gain.value):
            names = ("nll_oracle", "nll_data")
            pairs = [(row[name], by_label[MLE][name]) for name in names]
            worse = all(own and mle and own.value > mle.value for own, mle in pairs)
            where = "with a seed at least outside the curve's NLL_oracle"
            more = ", and on average worse than its MLE in both likelihoods" if worse else ""
            said.append(f"- {row.label}: {where}{more}")
            continue
        where = "on" if abs(gain.value) <= 2 * gain.se else "beyond" if gain.value > 0 else "behind"
        said.append(f"- {row.label}: {where} its MLE's curve, by {gain.value:+.4f} ± {gain.se:.4f}")
    return "\n".join(["Nats a token of NLL_gen, at equal NLL_oracle:", "", *said]) if said else ""


def main() -> int:
    """Measure what is missing, write the section; 1 where a likelihood is impossible."""
    parser = parser_of(__doc__)
    parser.add_argument("--search", action="store_true", help="fit the candidates for the MLE too")
    options = parser.parse_args()
    study = Study("oracle", options)
    searched = search(study, options.search)
    mle = best(searched)
    found = rows(study, mle)
    columns = {
        "nll_oracle": "NLL_oracle",
        "nll_data": "NLL_gen",
        "own_entropy": "own entropy",
        "distinct_1": "distinct tokens",
        "distinct_2": "distinct pairs",
        "beyond": "beyond the curve",
        CPU_SECONDS: "CPU-seconds",
    }
    of = sizes(study)
    story = (
        f"{of.samples:,} samples a row, NLL_gen on as many fresh sequences of the source; nats a "
        f"token. The MLE (*{mle}*) had {of.data:,} sequences, every tenth to stop by; agents begin "
        f"with it and learn for {of.rounds} rounds of 64. The constant reward has no baseline, so "
        "that it can only sharpen."
    )
    candidates = table({"held_out": "held out", "learnt": "learnt"}, searched)
    parts = [table(columns, found), verdict(found), "### The best MLE", candidates]
    study.publish("Oracle", story, [part for part in parts if part])
    floor = found[0]["nll_data"]
    below = [
        row.label
        for row in found[1:]
        if floor is not None
        and (nll := row["nll_data"]) is not None
        and nll.value < floor.value - 3 * math.hypot(nll.se, floor.se)
    ]
    if below:
        print(f"NLL_gen below the source's entropy, which cannot be: {', '.join(below)}")
    return int(bool(below))


if __name__ == "__main__":
    raise SystemExit(main())
