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
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any

import gymnasium as gym
import numpy as np
import tokengym
import torch
from tokengym.agents import Policy, Reinforce, SeqGAN, sample
from tokengym.agents.pretraining import log_likelihoods
from tokengym.envs import Sequences, Task
from tokengym.train.evaluation import HELD_OUT_SEED, figures_of_samples, further_figures
from tokengym.train.metrics import Estimate, mean_of
from tokengym.train.metrics.hidden import output_layer
from tokengym.train.supervised import Learner, TeacherForcing

from .results import CPU_SECONDS, Figures, Row, Study, parser_of, table

TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1)
PLAIN = "plain, 32"
# Settings of TeacherForcing, and of the LSTM (embedding and state of `hidden` units).
CANDIDATES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    PLAIN: ({}, {"hidden": 32}),
    "averaged, 32": ({"averaging": 0.999}, {"hidden": 32}),
    "tied, 32": ({}, {"hidden": 32, "tied": True}),
    "decay 0.3, 32": ({"weight_decay": 0.3}, {"hidden": 32}),
    "decay 1, 32": ({"weight_decay": 1.0}, {"hidden": 32}),
    "decay 3, 32": ({"weight_decay": 3.0}, {"hidden": 32}),
    "dropout 0.3, 32": ({}, {"hidden": 32, "dropout": 0.3, "variational": True}),
    "dropout 0.5, 64": ({}, {"hidden": 64, "dropout": 0.5, "variational": True}),
    "dropout 0.5, 128": ({}, {"hidden": 128, "dropout": 0.5, "variational": True}),
    "decay 1, averaged, 64": ({"weight_decay": 1.0, "averaging": 0.999}, {"hidden": 64}),
    "decay 1, averaged, dropout 0.3, 64": (
        {"weight_decay": 1.0, "averaging": 0.999},
        {"hidden": 64, "dropout": 0.3, "variational": True},
    ),
    "decay 1, averaged, dropout 0.5, tied, 128": (
        {"weight_decay": 1.0, "averaging": 0.999},
        {"hidden": 128, "dropout": 0.5, "variational": True, "tied": True},
    ),
}
FITTING: dict[str, Any] = {
    "batch_size": 64,
    "learning_rate": 4e-3,
    "schedule": "cosine",
    "patience": 5,
}
_HELD_OUT = 10  # every tenth

Curve = dict[float, Figures]  # an MLE's figures by temperature


@dataclass(frozen=True)
class Sizes:
    """How much is done.

    Args:
        data: sequences of the source, a tenth of them held out.
        samples: behind the figures, and as many fresh ones of the source for NLL_gen.
        epochs: the most of teacher forcing.
        rounds: of an agent, of 64 sequences of 20 tokens.
        discriminator_steps: updates of the discriminator before the first round.
        discriminator: its expression; by default the paper's.
        completions: of every prefix.
        temperatures: of the curve.
    """

    data: int = 10_000
    samples: int = 10_000
    epochs: int = 40
    rounds: int = 200
    discriminator_steps: int = 300
    discriminator: str = "conv_discriminator"
    completions: int = 16
    temperatures: tuple[float, ...] = TEMPERATURES


QUICK = Sizes(
    500, 200, 1, 1, 1, "conv_discriminator(widths=(1, 2), filters=(8, 8))", 1, (0.5, 1.0, 1.5)
)


def sizes(study: Study) -> Sizes:
    """Those of this run."""
    return QUICK if study.quick else Sizes()


@cache
def oracle_task(data: int) -> Task:
    """The task, its random network and data those of seed 0."""
    return tokengym.make_task("tokengym/Oracle-v0", data_size=data)


# --- maximum likelihood -------------------------------------------------------------------------


def parts_of(data: Sequences) -> tuple[Sequences, Sequences]:
    """What is learnt from, and what a fit stops by."""
    held_out = torch.arange(len(data)) % _HELD_OUT == _HELD_OUT - 1
    return data[~held_out], data[held_out]


def fitting(study: Study, candidate: str) -> dict[str, Any]:
    """What a candidate depends on."""
    of, (options, network) = sizes(study), CANDIDATES[candidate]
    return {**FITTING, **options, "network": network, "data": of.data, "epochs": of.epochs}


def fitted(study: Study, candidate: str, seed: int) -> Learner:
    """A candidate for the best MLE, fitted until its held-out likelihood falls no more."""
    of, (options, network) = sizes(study), CANDIDATES[candidate]

    def fit() -> Learner:
        task = oracle_task(of.data)
        assert task.data is not None
        learner = TeacherForcing(
            "LSTM",
            vocabulary=task.vocabulary,
            policy_kwargs={**network, "embedding": network["hidden"]},
            seed=seed,
            device="cpu",
            **FITTING,
            **options,
        )
        return learner.fit(*parts_of(task.data), max_epochs=of.epochs)

    return study.learner(f"oracle LSTM {candidate}", seed, fitting(study, candidate), fit)


def search(study: Study, compute: bool) -> list[Row]:
    """How every candidate does on what it did not learn from."""
    of = sizes(study)

    def held_out(candidate: str, seed: int) -> Figures:
        learner, data = fitted(study, candidate, seed), oracle_task(of.data).data
        assert data is not None
        learning, other = parts_of(data)
        return {
            "held_out": learner.evaluate(other)["nats_a_token"],
            "learnt": learner.evaluate(learning)["nats_a_token"],
        }

    candidates = list(CANDIDATES)[:2] if study.quick else list(CANDIDATES)
    rows: list[Row] = []
    for name in candidates:
        wanted, compute_one = None if compute else False, partial(held_out, name)
        row = study.row(f"search, {name}", fitting(study, name), compute_one, wanted=wanted)
        rows.append(Row(name, row.seeds))
    return rows


def best(rows: list[Row]) -> str:
    """The candidate with the lowest held-out NLL; the plain one where none was searched."""
    found = {row.label: figure.value for row in rows if (figure := row["held_out"]) is not None}
    return min(found, key=lambda name: found[name], default=PLAIN)


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
        label = "**MLE**" if t == 1 else f"MLE at temperature {t:g}"
        found.append(Row(label, [points[t] for points in curves if t in points]))
    for label, (_, judged, options) in AGENTS.items():
        settings = {**shared, **options, "judged": judged}
        found.append(study.row(label, settings, partial(learnt, study, label, mle)))
    return found


def verdict(found: list[Row]) -> str:
    """Who is beyond the curve, by twice the standard error."""
    said = []
    for row in found:
        gain = row["beyond"]
        if gain is None:
            continue
        if math.isnan(gain.value):
            said.append(f"- {row.label}: with a seed at least outside the curve's NLL_oracle")
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
