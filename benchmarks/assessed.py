"""How much an agent learns from people's ratings, and how many it takes.

    python -m benchmarks.assessed --ratings 50 100 200 400 800

Simulated assessors rate pairs by a known utility, through a store, as people would through the
page: six of them, 15 of 100 answers the other way round, two of them leaning to one side. What is
asked in a round is answered after it, read in the next one, and so first a reward in the round
after that. The ratings are spread evenly over the first two thirds of a run of ``Reinforce``. The
utility of a text of twelve letters, vowels and consonants, is the sum of what each letter is worth
and of how often a vowel and a consonant are neighbours, standardised over random texts, which is
what the policy begins with; agents see letters alone.

The rise is that of the mean true utility of 1,000 samples over what it was before learning, in
standard deviations of random texts, as a share of the rise when the agent may call the utility
itself for as many rounds. The control gives every question the answer to the one before it, so
the answers are as they were and say nothing.

Floors, for each seed: with 400 ratings the share is at least 0.5; of the control's 400 it is at
most 0.15 up or down. Exits 1 when one is missed.
"""

# Shapes: B sequences, T steps
from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from stable_baselines3.common.callbacks import BaseCallback
from tokengym.agents import Reinforce
from tokengym.envs import Sequences, Task, TokenEnv, Vocabulary
from tokengym.rewards import Assessors, Reward, Scores
from tokengym.rewards.assessors.store import Store

from .reporting import mean_and_error

LETTERS, VOWELS, T = "aeiobdgt", "aeio", 12
WORTH = {"a": 1.0, "t": 0.75, "o": 0.5, "g": 0.25, "d": -0.25, "i": -0.5, "b": -0.75, "e": -1.0}
NOISE, LEANING, ALIKE = 0.15, 0.7, 0.1  # leaning and what seems alike in standard deviations
QUESTION = "Which is nicer?"
ROUNDS, RATED_SHARE, BATCH = 60, 2 / 3, 64
STATED, SHARE, FLAT = 400, 0.5, 0.15
VOCABULARY = Vocabulary.from_tokens(list(LETTERS), "characters", eos=False)


class Utility(Reward):
    """What everybody has in mind; mean 0 and standard deviation 1 over random texts."""

    name = "utility"

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        raw_B = _raw(torch.randint(len(LETTERS), (20_000, T), generator=generator))
        self.mean, self.sd = float(raw_B.mean()), float(raw_B.std())

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences."""
        return Scores.of(self.name, (_raw(sequences.tokens_BT) - self.mean) / self.sd)

    def of(self, texts: list[str]) -> list[float]:
        """The utility of each text."""
        values: list[float] = self(VOCABULARY.encode(texts)).values_B.tolist()
        return values


def _raw(tokens_BT: torch.Tensor) -> torch.Tensor:
    letters = VOCABULARY.tokens[: len(LETTERS)]
    worth_A = torch.tensor([WORTH[letter] for letter in letters])
    vowel_A = torch.tensor([letter in VOWELS for letter in letters])
    vowel_BT = vowel_A[tokens_BT]
    changes_B = (vowel_BT[:, 1:] != vowel_BT[:, :-1]).sum(dim=1)
    return worth_A[tokens_BT].sum(dim=1) + changes_B


class SimulatedAssessors(BaseCallback):
    """Six who answer what is on the queue after every round.

    Args:
        url: of the store.
        ratings: how many they give in all.
        seed: of their noise.
        shuffled: give every question the answer to the one before it.
    """

    def __init__(self, url: str, ratings: int, seed: int, shuffled: bool) -> None:
        super().__init__()
        self.store = Store(url)
        self.question = self.store.question(QUESTION, form="pair", domain="text")
        tokens = [self.store.add_assessor(name) for name in "abcdef"]
        found = [self.store.assessor_of(token) for token in tokens]
        self.people = [person.id for person in found if person is not None]
        self.leaning = dict(zip(self.people, (LEANING, -LEANING, 0, 0, 0, 0), strict=True))
        self.random, self.utility, self.shuffled = random.Random(seed), Utility(), shuffled
        self.ratings, self.round, self.rated = ratings, 0, 0
        self.before = "left"

    def _on_rollout_end(self) -> None:
        """Answer as many as are due, in turn."""
        self.round += 1
        due = min(self.ratings, round(self.ratings * self.round / (ROUNDS * RATED_SHARE)))
        while self.rated < due and self._rate(self.people[self.rated % len(self.people)]):
            self.rated += 1

    def _rate(self, person: int) -> bool:
        """Whether there was something to answer."""
        found = self.store.lease(self.question, person)
        if found is None or found.right is None:
            return False
        left, right = self.utility.of([found.left, found.right])
        better = left - right + self.leaning[person]
        answer = "left" if better > 0 else "right"
        if self.random.random() < NOISE:
            answer = {"left": "right", "right": "left"}[answer]
        answer = "equal" if abs(better) < ALIKE else answer
        given, self.before = self.before if self.shuffled else answer, answer
        self.store.rate(found.id, person, given, key=str(self.rated))
        return True

    def _on_step(self) -> bool:
        return True


def agent_with(reward: Reward, seed: int) -> Reinforce:
    """Who writes; the data are random texts, which only say what there is to begin with."""

    def random_texts() -> Sequences:
        generator = torch.Generator().manual_seed(seed)
        tokens_BT = torch.randint(len(LETTERS), (BATCH, T), generator=generator)
        return Sequences.from_tokens(tokens_BT, VOCABULARY)

    task = Task(
        name="Letters", vocabulary=VOCABULARY, max_length=T, reward=reward, load_data=random_texts
    )
    return Reinforce(
        "GRU",
        TokenEnv(task),
        batch_size=BATCH,
        learning_rate=5e-3,
        discriminator_steps=1,
        policy_kwargs={"embedding": 16, "hidden": 32},
        seed=seed,
        device="cpu",
    )


def rise(agent: Reinforce, callback: BaseCallback | None = None) -> float:
    """By how many standard deviations the mean true utility rises in a run."""
    utility = Utility()

    def level() -> float:
        return float(utility(agent.sample(1000, seed=0)).values_B.mean())

    before = level()
    agent.learn(ROUNDS * BATCH * T, callback=callback)
    return level() - before


def assessed(seed: int, ratings: int, shuffled: bool = False) -> tuple[float, dict[str, float]]:
    """The rise with so many ratings, and what the model says of itself at the end."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/ratings.sqlite"
        reward = Assessors(url, QUESTION, domain="text")
        people = SimulatedAssessors(url, ratings, seed, shuffled)
        risen = rise(agent_with(reward, seed), people)
        people.store.close()
        reward.close()
        return risen, reward.model.metrics


def main() -> int:
    """Measure; 1 when a floor is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ratings", type=int, nargs="*", default=[STATED])
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--json", type=Path, help="also write every seed's figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = [(str(n), n, False) for n in options.ratings]
    if STATED in options.ratings:
        cases.append((f"{STATED} shuffled", STATED, True))
    table = Table("ratings", "rise", "share of direct", "each seed", "accuracy", "CPU s")
    rows, missed = [], False
    direct = [rise(agent_with(Utility(), seed)) for seed in range(options.seeds)]
    table.add_row("direct", _pm(direct), "1", "", "", "")
    for label, ratings, shuffled in cases:
        start = time.process_time()
        found = [assessed(seed, ratings, shuffled) for seed in range(options.seeds)]
        seconds = (time.process_time() - start) / options.seeds
        shares = [risen / best for (risen, _), best in zip(found, direct, strict=True)]
        accuracy = [metrics.get("accuracy", float("nan")) for _, metrics in found]
        each = " ".join(f"{share:.2f}" for share in shares)
        risen = [value for value, _ in found]
        table.add_row(label, _pm(risen), _pm(shares), each, _pm(accuracy), f"{seconds:.0f}")
        rows.append({"case": label, "rises": risen, "shares": shares, "accuracy": accuracy})
        if shuffled:
            missed |= any(abs(share) > FLAT for share in shares)
        elif ratings == STATED:
            missed |= any(share < SHARE for share in shares)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"{options.seeds} seeds from 0, mean +- standard error; direct: {direct}")
    if options.json:
        options.json.write_text(json.dumps({"direct": direct, "cases": rows}, indent=1) + "\n")
    return int(missed)


def _pm(values: list[float]) -> str:
    mean, error = mean_and_error(values)
    return f"{mean:.2f} +- {error:.2f}"


if __name__ == "__main__":
    raise SystemExit(main())
