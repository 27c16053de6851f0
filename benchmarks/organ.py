"""ORGAN on real molecules and melodies, beside what it is made of.

    python -m benchmarks.organ --only "molecules, ORGAN" --seeds 1

Guimaraes et al. (2017), arXiv 1705.10843: a discriminator and an objective, each alone and the
objectives in turn, ten rounds each. A seed has one policy, taught by maximum likelihood; every row
of that seed begins with it and differs in the reward alone:

- ``MLE`` learns nothing more,
- ``SeqGAN`` has the discriminator,
- ``RL`` has half of the objective, and no discriminator,
- ``ORGAN`` has half of both.

So what the discriminator is good for is the difference of the last two: an objective alone is
raised further by what no longer looks like the data.

Figures are of 10,000 samples, compared with the data that was learnt from. Floor: every ORGAN
raises the objective that it alone has above MLE's, on average over seeds; exits 1 where one misses.
"""

# Shapes: B sequences
from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import gymnasium as gym
import tokengym
from tokengym.agents import ORGAN, SeqGAN
from tokengym.envs import Sequences, Task
from tokengym.rewards import make_reward
from tokengym.train.evaluation import figures_of_texts, further_figures
from tokengym.train.held_out import split
from tokengym.train.metrics import mean_of, share_of
from tokengym.train.supervised import Learner, TeacherForcing

from .results import CPU_SECONDS, Figures, Row, Study, parser_of, table

PERIOD = 10  # rounds of one objective, where they alternate


@dataclass(frozen=True)
class Domain:
    """What is written, and what is wanted of it.

    Args:
        name: for people.
        id: of the task.
        objectives: by name; each in [0, 1].
        metrics: further figures, by name.
        columns: the table's figures and their headings, beside the objectives'.
        options: of the task.
    """

    name: str
    id: str
    objectives: tuple[str, ...]
    metrics: str
    columns: dict[str, str]
    options: dict[str, Any] = field(default_factory=dict)

    def task(self) -> Task:
        """The task, with its own reward."""
        return tokengym.make_task(self.id, **self.options)

    def env(self, reward: str) -> gym.Env[Any, Any]:
        """The environment, with this reward."""
        return gym.make(self.id, reward=reward, **self.options)


MOLECULES = Domain(
    "molecules",
    "tokengym/Molecules-v0",
    ("organ_druglikeness", "organ_synthesizability", "organ_solubility"),
    "fcd",
    {
        "validity": "validity",
        "uniqueness": "unique",
        "novelty": "novel",
        "internal_diversity": "internal diversity",
        "fcd": "FCD",
    },
)
MELODIES = Domain(
    "melodies",
    "tokengym/Melodies-v0",
    ("tonality", "ratio_of_steps"),
    "melodies,ngrams",
    {
        "validity": "validity",
        "uniqueness": "unique",
        "novelty": "novel",
        "distinct_2": "distinct pairs",
        "pitch_class_jsd": "pitch classes, bits off",
        "duration_jsd": "durations, bits off",
    },
)


@dataclass(frozen=True)
class Sizes:
    """How much is done.

    Args:
        epochs: of teacher forcing.
        hidden: units of the policy.
        samples: behind the figures.
        tokens: that an agent learns from.
        data: sequences of the data that are learnt from and compared with.
        batch_size: sequences a round.
        discriminator_steps: updates of the discriminator before the first round.
        widths: of its filters.
    """

    epochs: int = 14
    hidden: int = 256
    samples: int = 10_000
    tokens: int = 280_000
    data: int = 1_000_000
    batch_size: int = 128
    discriminator_steps: int = 100
    widths: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10)

    @property
    def discriminator(self) -> str:
        """The discriminator's expression."""
        filters = (64,) * len(self.widths)
        options = "embedding=32, l2=0.01, learning_rate=0.001"
        return f"conv_discriminator(widths={self.widths}, filters={filters}, {options})"


QUICK = Sizes(1, 16, 60, 100, data=256, batch_size=2, discriminator_steps=1, widths=(1, 2))
OPTIONS: dict[str, Any] = {  # examples/organ_molecules.yaml learns faster, and longer
    "learning_rate": 5e-4,
    "completions": 2,
    "prior_coefficient": 0.02,
    "discriminator_steps": 3,
}
FITTING: dict[str, Any] = {"batch_size": 64, "learning_rate": 4e-3, "averaging": 0.99}


def sizes(study: Study) -> Sizes:
    """Those of this run."""
    return QUICK if study.quick else Sizes()


def domains(study: Study) -> tuple[Domain, Domain]:
    """Both; in short, an objective each, and SELFIES: hardly taught, one still writes molecules."""
    if not study.quick:
        return MOLECULES, MELODIES
    molecules, melodies = (
        replace(each, objectives=each.objectives[:1]) for each in (MOLECULES, MELODIES)
    )
    return replace(molecules, options={"representation": "selfies"}), melodies


def fitting(study: Study) -> dict[str, Any]:
    """What the policies that rows begin with depend on."""
    of = sizes(study)
    return {"hidden": of.hidden, "epochs": of.epochs, "data": of.data, **FITTING}


def pretrained(study: Study, domain: Domain, seed: int) -> Learner:
    """The policy that all rows of a seed begin with, read anew; its best weights held out."""
    of = sizes(study)

    def fit() -> Learner:
        task = domain.task()
        learner = TeacherForcing(
            "GRU",
            vocabulary=task.vocabulary,
            policy_kwargs={"hidden": of.hidden, "embedding": of.hidden // 4},
            seed=seed,
            device="cpu",
            **FITTING,
        )
        learner.use_task(task)
        data, held_out = split(task)
        return learner.fit(data[: of.data], held_out, max_epochs=of.epochs)

    return study.learner(f"{domain.name} GRU", seed, fitting(study), fit)


def rewards_of(domain: Domain, discriminator: str) -> dict[str, str | None]:
    """The reward of every row, by label."""
    wanted = {name: f"0.5 * {name}" for name in domain.objectives}
    if len(wanted) > 1:
        wanted["alternated"] = f"0.5 * alternate({', '.join(wanted)}, period={PERIOD})"
    alone = {f"RL, {label}": each for label, each in wanted.items()}
    both = {f"ORGAN, {label}": f"0.5 * {discriminator} + {each}" for label, each in wanted.items()}
    return {"MLE": None, "SeqGAN": discriminator, **alone, **both}


def learnt(study: Study, domain: Domain, reward: str | None, seed: int) -> Figures:
    """Learn by a reward, from the seed's policy; the figures of what is written then."""
    of = sizes(study)
    learner, task = pretrained(study, domain, seed), domain.task()
    if reward is None:
        learner.use_task(task)
        return figures(study, domain, task, learner.sample(of.samples, seed=seed))
    kind = SeqGAN if reward == of.discriminator else ORGAN
    options = OPTIONS | {"batch_size": of.batch_size}
    env = domain.env(reward)
    agent = kind(learner.policy, env, seed=seed, device="cpu", **options)
    agent.pretrain(epochs=0, discriminator_steps=of.discriminator_steps)
    agent.learn(of.tokens)
    return figures(study, domain, task, agent.sample(of.samples, seed=seed))


def figures(study: Study, domain: Domain, task: Task, written: Sequences) -> Figures:
    """What samples are like, and what each objective says of them: of all, 0 for the invalid."""
    assert task.data is not None
    assert task.canonical is not None
    reference = task.data[: sizes(study).data].texts
    statistics = study.folder / "reference.safetensors" if "fcd" in domain.metrics else None
    found = figures_of_texts(written.texts, reference, task.domain)
    if "validity" not in found:
        valid = sum(task.canonical(text) is not None for text in written.texts)
        found["validity"] = share_of(valid, len(written))
    found |= further_figures(domain.metrics, task, written, reference, statistics=statistics)
    for name in domain.objectives:
        found[name] = mean_of(make_reward(name)(written).values_B.tolist())
    return found


def rows(study: Study, domain: Domain) -> list[Row]:
    """Every row of a domain, the data first; its figures are of as many sequences."""

    def of_data(seed: int) -> Figures:
        task = domain.task()
        assert task.data is not None
        return figures(study, domain, task, task.data[: sizes(study).samples])

    shared = {**asdict(sizes(study)), "fitting": FITTING}
    data = study.case(f"{domain.name}, data", 0, shared, lambda: of_data(0))
    found = [Row("data", [] if data is None else [data])]
    for label, reward in rewards_of(domain, sizes(study).discriminator).items():
        settings = {**shared, "reward": reward} | ({} if reward is None else OPTIONS)
        compute = partial(learnt, study, domain, reward)
        row = study.row(f"{domain.name}, {label}", settings, compute)
        found.append(Row(label, row.seeds))
    return found


def missed(domain: Domain, found: list[Row]) -> list[str]:
    """The objectives that the ORGAN which has them alone does not raise above MLE's."""
    by_label = {row.label: row for row in found}
    names = []
    for name in domain.objectives:
        organ, mle = by_label[f"ORGAN, {name}"][name], by_label["MLE"][name]
        if organ is not None and mle is not None and organ.value <= mle.value:
            names.append(name)
    return names


def main() -> int:
    """Measure what is missing, write the section; 1 where a floor is missed."""
    parser = parser_of(__doc__)
    parser.add_argument("--domain", choices=["molecules", "melodies"], help="by default both")
    options = parser.parse_args()
    study = Study("organ", options)
    parts, failed = [], []
    for domain in domains(study):
        if options.domain not in (None, domain.name):
            continue
        found = rows(study, domain)
        columns = {**domain.columns, **{name: name for name in domain.objectives}}
        parts.append(f"### {domain.name.capitalize()}")
        parts.append(table({**columns, CPU_SECONDS: "CPU-seconds"}, found))
        failed += missed(domain, found)
    story = (
        f"Figures of {sizes(study).samples:,} samples. A seed's rows begin with one policy, taught "
        f"by maximum likelihood, and learn from {sizes(study).tokens:,} tokens by their reward: a "
        "discriminator (*SeqGAN*), half of an objective (*RL*), half of both (*ORGAN*). Novelty "
        "and distances are from the data that was learnt from; objectives are means over all "
        "samples, 0 for what is invalid."
    )
    study.publish("ORGAN", story, parts)
    if failed:
        print(f"ORGAN raised no further than MLE: {', '.join(failed)}")
    return int(bool(failed) and not study.quick)


if __name__ == "__main__":
    raise SystemExit(main())
