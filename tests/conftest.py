"""What tests share: one torch thread, and a task small enough to enumerate."""

# Shapes: S = all sequences of the small language, T steps, A actions
from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tokengym.agents import GRUPolicy, LSTMPolicy, Policy, TransformerPolicy
from tokengym.agents.losses import token_log_probs
from tokengym.envs import Sequences, Task, Vocabulary
from tokengym.rewards import FunctionObjective, Reward, Scores

from .postgresql import in_new_schema, running_server

torch.set_num_threads(1)
if not torch.cuda.is_available():  # before anything imports Triton: its kernels run on the CPU
    os.environ.setdefault("TRITON_INTERPRET", "1")

T = 4


@pytest.fixture
def vocabulary() -> Vocabulary:
    """Three actions: a, b and the end."""
    return Vocabulary.from_tokens(["a", "b"], "characters")


@pytest.fixture
def all_sequences(vocabulary: Vocabulary) -> Sequences:
    """Every sequence of at most T tokens that ends with the end token or with the T-th token."""
    eos, pad = vocabulary.eos, vocabulary.pad
    rows = []
    for length in range(T):
        rows += [
            [*p, eos, *[pad] * (T - length - 1)] for p in itertools.product((0, 1), repeat=length)
        ]
    rows += [list(p) for p in itertools.product((0, 1), repeat=T)]
    return Sequences.from_tokens(torch.tensor(rows), vocabulary)


PolicyMaker = Callable[[Vocabulary, int], Policy]


def _make(kind: str, layers: int) -> PolicyMaker:
    def make(vocabulary: Vocabulary, seed: int) -> Policy:
        torch.manual_seed(seed)
        made: Policy
        if kind == "Transformer":
            made = TransformerPolicy(vocabulary, width=8, heads=2, layers=layers)
        else:
            recurrent = {"GRU": GRUPolicy, "LSTM": LSTMPolicy}[kind]
            made = recurrent(vocabulary, embedding=5, hidden=7, layers=layers)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.mul_(2)  # far enough from uniform that a mistake shows
        return made.double().eval()

    return make


@pytest.fixture(
    params=[(kind, layers) for kind in ("GRU", "LSTM", "Transformer") for layers in (1, 2)],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def make_policy(request: pytest.FixtureRequest) -> PolicyMaker:
    """Every policy of the project, in float64, with random weights."""
    return _make(*request.param)


@pytest.fixture
def policy(vocabulary: Vocabulary) -> Policy:
    """One small policy, where any will do."""
    return _make("GRU", 1)(vocabulary, 0)


def log_probs(policy: Policy, sequences: Sequences) -> torch.Tensor:
    """Teacher-forced log-probabilities of whole sequences."""
    logits_BTA = policy(sequences.tokens_BT)
    return token_log_probs(logits_BTA, sequences.tokens_BT, sequences.mask_BT).sum(dim=1)


class TokenSum(Reward):
    """A reward whose value is plain from the tokens: sum over t of weight[token] * (t + 1)."""

    name = "token_sum"
    credit = "rollouts"

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences."""
        weights = torch.tensor([0.5, -1.0, 0.25, 0.0, 0.0])
        steps_T = torch.arange(1, sequences.tokens_BT.shape[1] + 1)
        values_BT = weights[sequences.tokens_BT] * steps_T * sequences.mask_BT
        return Scores.of(self.name, values_BT.sum(dim=1))


@pytest.fixture
def small_task(vocabulary: Vocabulary) -> Task:
    """The small language with a reward that is plain from the tokens."""
    return Task(name="Small", vocabulary=vocabulary, max_length=T, reward=TokenSum())


def given(values: Mapping[str, float | None], name: str, **options: Any) -> FunctionObjective:
    """An objective with the values of a table, None for a failure."""
    return FunctionObjective(lambda texts: [values[text] for text in texts], name=name, **options)


def encoded(texts: list[str]) -> Sequences:
    """A batch of texts, character by character."""
    return Vocabulary.from_corpus(texts, "characters").encode(texts)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server of our own, up to its query."""
    yield from running_server()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ratings.sqlite"
    server: str = request.getfixturevalue("postgresql")
    return in_new_schema(server)
