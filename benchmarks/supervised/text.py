"""Text, character by character: GRU-256 on windows of one long text.

The last tenth is held out. Floor: 30,000 training tokens a CPU-second.
"""

from __future__ import annotations

from functools import partial

import torch
from tokengym.envs import Sequences, make_task
from tokengym.train.supervised import Learner, TeacherForcing

from .case import Case, Row, cpu_clock

FLOOR = 30_000  # tokens a CPU-second
WINDOW, BATCH = 64, 64
_WARM_UP, _TIMED = 3, 12  # steps


def cases(data: str, seconds: float) -> list[Case]:
    """A fit of about so many CPU-seconds."""
    return [Case(f"text {data}", partial(text, data=data, seconds=seconds))]


def text(seed: int, *, data: str, seconds: float) -> list[Row]:
    """Tokens a CPU-second, and bits a character of the held-out tenth."""
    task = make_task("tokengym/Text-v0", data=data, window=WINDOW)
    assert task.data is not None
    first = len(task.data) * 9 // 10
    learn, held_out = task.data[:first], task.data[first:]
    rate = speed(learner(learn, seed), learn)
    epochs = max(int(seconds * rate / learn.num_tokens), 1)
    fitted = learner(learn, seed)
    with cpu_clock() as clock:
        fitted.fit(learn, held_out, max_epochs=epochs)
    bits = fitted.evaluate(held_out)["bits_a_character"]
    return [
        Row("GRU-256: tokens a CPU-second", rate, None, f">= {FLOOR:,}", rate >= FLOOR),
        Row("GRU-256: bits a character", bits.value, bits.se, "", True, clock.seconds),
    ]


def learner(data: Sequences, seed: int) -> Learner:
    """The reference's size: 268,000 weights on tinyshakespeare."""
    return TeacherForcing(
        "GRU",
        vocabulary=data.vocabulary,
        policy_kwargs={"embedding": 64, "hidden": 256, "dropout": 0.1},
        batch_size=BATCH,
        learning_rate=4e-3,
        schedule="cosine",
        patience=5,
        seed=seed,
        device="cpu",
    )


def speed(fresh: Learner, data: Sequences) -> float:
    """Tokens a CPU-second of full batches, after a warm-up."""
    rows = torch.arange((_WARM_UP + _TIMED) * BATCH) % len(data)
    full = data[rows]
    warm, timed = full[: _WARM_UP * BATCH], full[_WARM_UP * BATCH :]
    fresh.fit(warm, max_epochs=1)
    with cpu_clock() as clock:
        fresh.fit(timed, max_epochs=1)
    return timed.num_tokens / clock.seconds
