"""Text, character by character: GRU-256 on windows of one long text, the last tenth held out.

Beside it a plain PyTorch loop of the same network, batch and optimiser, in turns in one run: what
the library costs above PyTorch. Floor: that ratio of training tokens a CPU-second is 0.9 or more,
within three standard errors. (On tinyshakespeare such a loop reached 2.18 bits a character after
300 CPU-seconds, 30,000 tokens a CPU-second, on another machine.)
"""

# Shapes: B windows, T characters, V characters and the beginning
from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from tokengym.envs import Sequences, make_task
from tokengym.train.metrics import mean_of
from tokengym.train.supervised import Learner, TeacherForcing
from torch import Tensor, nn

from ..results import Figures, Row, exactly
from ..timing import seconds
from .case import FIT_SECONDS, Case, Part, cpu_clock

FLOOR = 0.9  # of a plain loop's tokens a CPU-second
WINDOW, BATCH = 64, 64
PIECE = 4_000  # characters, the least that is read on
EMBEDDING, HIDDEN, DROPOUT, RATE = 64, 256, 0.1, 4e-3
BUILT_IN, SHORT = "harbour", 20.0  # CPU-seconds of its fit


def part(data: str | None, seconds: float, quick: bool) -> Part:
    """The built-in text, three times, and one of the user's, once."""
    texts = {BUILT_IN: (3, SHORT)} | ({data: (1, seconds)} if data else {})
    cases = []
    for name, (seeds, limit) in texts.items():
        settings = {"text": digest(name), "seconds": limit, "quick": quick}
        compute = partial(text, data=name, seconds=limit, quick=quick)
        cases.append(Case(Path(name).name, compute, settings, seeds))
    return Part(
        "Text",
        f"GRU of {HIDDEN} on windows of {WINDOW} characters, the last tenth held out; a fit ends "
        f"after about {SHORT:g} CPU-seconds on the built-in text and {seconds:g} on another, or "
        "when held-out windows have not got better for 5 epochs. *Windows*: each is read from "
        "nothing; *read on*: the held-out text in long pieces. *Against PyTorch*: training tokens "
        "a CPU-second as a multiple of those of a plain loop over nn.GRU with the same sizes, "
        "batches and optimiser, in turns in one run.",
        {
            "characters": "characters",
            "bits": "bits a character, windows",
            "bits_read_on": "bits a character, read on",
            "rate": "tokens a CPU-second",
            "plain_rate": "plain PyTorch",
            "ratio": "against PyTorch",
            FIT_SECONDS: "CPU-seconds of the fit",
        },
        cases,
        missed=missed,
    )


def digest(data: str) -> str:
    """What tells one text from another."""
    if data == BUILT_IN:
        return data
    return hashlib.sha256(Path(data).read_bytes()).hexdigest()


def missed(rows: list[Row]) -> list[str]:
    """Texts on which the library is slower than it may be."""
    return [
        f"{row.label}: {ratio} of a plain loop's speed"
        for row in rows
        if (ratio := row["ratio"]) is not None and ratio.value + 3 * ratio.se < FLOOR
    ]


def text(seed: int, *, data: str, seconds: float, quick: bool) -> Figures:
    """Speed beside the plain loop's, and bits a character of the held-out tenth."""
    task = make_task("tokengym/Text-v0", data=data, window=WINDOW)
    assert task.data is not None
    first = len(task.data) * 9 // 10
    learn, held_out = task.data[:first], task.data[first:]
    found = speeds(learn, seed, steps=2 if quick else 8, turns=3 if quick else 8)
    epochs = max(int(seconds * found["rate"].value / learn.num_tokens), 1)
    fitted = learner(learn, seed)
    with cpu_clock() as clock:
        fitted.fit(learn, held_out, max_epochs=1 if quick else epochs)
    return {
        **found,
        "characters": exactly(task.data.num_tokens),
        "bits": fitted.evaluate(held_out)["bits_a_character"],
        "bits_read_on": fitted.evaluate(read_on(held_out))["bits_a_character"],
        FIT_SECONDS: exactly(clock.seconds),
    }


def read_on(windows: Sequences) -> Sequences:
    """The text of full windows in a few long pieces, so that hardly a character lacks its past."""
    full = windows[windows.lengths_B == WINDOW].tokens_BT.flatten()
    pieces = max(len(full) // PIECE, 1)
    long_BT = full[: len(full) // pieces * pieces].view(pieces, -1)
    return Sequences.from_tokens(long_BT, windows.vocabulary)


def learner(data: Sequences, seed: int) -> Learner:
    """The reference's size: 268,000 weights on tinyshakespeare."""
    return TeacherForcing(
        "GRU",
        vocabulary=data.vocabulary,
        policy_kwargs={"embedding": EMBEDDING, "hidden": HIDDEN, "dropout": DROPOUT},
        batch_size=BATCH,
        learning_rate=RATE,
        schedule="cosine",
        patience=5,
        seed=seed,
        device="cpu",
    )


# --- speed ----------------------------------------------------------------------------------------


def speeds(data: Sequences, seed: int, *, steps: int, turns: int) -> Figures:
    """Training tokens a CPU-second, ours and a plain loop's, in turns after a warm-up."""
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    batches = data[rows[torch.arange(steps * BATCH) % len(rows)]]
    ours, plain = learner(data, seed), PlainLoop(data.vocabulary.num_inputs, seed)
    runs = {
        "rate": lambda: ours.fit(batches, max_epochs=1),
        "plain_rate": lambda: plain.fit(batches.tokens_BT),
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(-1, turns):
        for name, run in runs.items():
            spent = seconds(run)
            if turn >= 0:
                taken[name].append(batches.num_tokens / spent)
    ratios = [a / b for a, b in zip(taken["rate"], taken["plain_rate"], strict=True)]
    return {name: mean_of(rates) for name, rates in taken.items()} | {"ratio": mean_of(ratios)}


class PlainLoop:
    """The same network and updates as they are written without a library.

    Args:
        inputs: V, the beginning of a window among them.
        seed: of the weights.
    """

    def __init__(self, inputs: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(inputs, EMBEDDING)
        self.network = nn.GRU(EMBEDDING, HIDDEN, batch_first=True)
        self.dropout = nn.Dropout(DROPOUT)
        self.output = nn.Linear(HIDDEN, inputs)
        self.beginning = inputs - 2
        modules = (self.embedding, self.network, self.output)
        self.weights = [weight for module in modules for weight in module.parameters()]
        self.adam = torch.optim.Adam(self.weights, lr=RATE)

    def fit(self, tokens_BT: Tensor) -> None:
        """One pass, in batches as they come."""
        for batch_BT in tokens_BT.split(BATCH):
            before_BT = F.pad(batch_BT[:, :-1], (1, 0), value=self.beginning)
            x_BTH, _ = self.network(self.dropout(self.embedding(before_BT)))
            logits_BTV = self.output(self.dropout(x_BTH))
            loss = F.cross_entropy(logits_BTV.flatten(0, 1), batch_BT.flatten())
            self.adam.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.weights, 1.0)
            self.adam.step()
