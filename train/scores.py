"""The scores of a run, kept so that it can be weighed again.

``scores.jsonl`` has a line for every round: the texts of its training sequences, what they were
worth, and every component's own values (``null`` where it failed), to the last bit of float32:

    {"round": 0, "timesteps": 412, "texts": ["CCO", ...], "total": [0.4, ...],
     "parts": {"qed": [0.41, ...], ...}}

``read_scores`` reads it, ``weigh`` says what the sequences would have been worth by another
expression over the recorded components.
"""

# Shapes: B sequences of a round
from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from ..agents.base import Round
from ..envs import Sequences
from ..rewards import Progress, Reward, Scores, UnknownRewardError
from ..rewards.base import Texts
from ..rewards.expressions import load_target
from ..rewards.parts import RAW
from ..rewards.registry import named_reward, parse_reward


@dataclass(frozen=True, eq=False)
class RoundScores:
    """What one round's training sequences were worth."""

    round: int
    """Its number, from 0."""
    timesteps: int
    """Tokens of training sequences written by its end."""
    texts: list[str]
    """The B sequences."""
    scores: Scores
    """Their values, and every component's."""


class ScoreLog(BaseCallback):
    """Writes a line for every round; of a file with later rounds, only the earlier ones stay.

    Args:
        path: of the file.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)

    def _on_training_start(self) -> None:
        if self.path.exists():
            os.truncate(self.path, _end_of_rounds(self.path, getattr(self.model, "rounds", 0)))

    def _on_rollout_end(self) -> None:
        made: Round = self.locals["made"]
        line = {
            "round": getattr(self.model, "rounds", 1) - 1,
            "timesteps": self.model.num_timesteps,
            "texts": made.sequences.texts,
            "total": _plain(made.scores.values_B),
            "parts": {name: _plain(part_B) for name, part_B in made.scores.parts.items()},
        }
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _on_step(self) -> bool:
        return True


def read_scores(run: str | Path) -> list[RoundScores]:
    """The rounds that ``scores.jsonl`` holds; a last line that was cut is left out with a warning.

    Args:
        run: the folder of a run, or the file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a line is no round; the message has its number.
    """
    path = Path(run)
    path = path / "scores.jsonl" if path.is_dir() else path
    rounds = []
    *lines, rest = path.read_text(encoding="utf-8").split("\n")
    if rest:  # the run was killed while it wrote, or is writing
        warnings.warn(f"{path}, line {len(lines) + 1} is cut short and left out", stacklevel=2)
    for number, line in enumerate(lines, start=1):
        try:
            rounds.append(_round(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}, line {number} is no round of scores: {error!r}") from error
    return rounds


def weigh(rounds: list[RoundScores], expression: str) -> list[Scores]:
    """What the sequences of each round would be worth by another expression.

    Args:
        rounds: as they were recorded.
        expression: as for ``make_reward``, over the names of recorded components:
            ``"0.2 * conv_discriminator + 0.8 * sigmoid(qed, low=0.4, high=0.8)"``. A name means
            what the component itself said, before any transform; ``mine:plain`` is ``plain``.

    Returns:
        The scores of each round, in their order. A sequence is not ok where a component failed, and
        nor is any in a round in which a component had no weight, so that it was not asked.

    Raises:
        ValueError: it is no expression, or names what was not recorded in any round.
    """
    playback = _Playback(rounds)
    reward = parse_reward(expression, playback.lookup)
    found, last = [], max((each.timesteps for each in rounds), default=0)
    for before, each in zip([None, *rounds], rounds, strict=False):
        playback.now = each
        reward.begin_round(Progress(each.round, before.timesteps / last if before else 0.0))
        batch = cast("Sequences", Texts(each.texts))
        found.append(reward(batch))
        reward.end_round(batch, found[-1])
    return found


class _Playback:
    """Components that say what they said in the round that is ``now``."""

    now: RoundScores

    def __init__(self, rounds: list[RoundScores]) -> None:
        names = dict.fromkeys(name for each in rounds for name in each.scores.parts)
        self.names = [name for name in names if not name.endswith(RAW)]

    def lookup(self, name: str, rewards: Sequence[object], options: dict[str, object]) -> Reward:
        if rewards:
            return named_reward(name, rewards, options)
        for known in _possible_names(name, options):
            if known in self.names:
                return _Recorded(known, self)
        raise UnknownRewardError(
            f"no values of {name!r} were recorded; recorded: {', '.join(self.names)}"
        )


def _possible_names(name: str, options: Mapping[str, object]) -> Iterator[str]:
    """What the component of a name and its options may be called in the record."""
    yield str(options.get("name"))
    yield name
    if ":" in name:
        yield name.rpartition(":")[2]
        yield str(getattr(load_target(name), "name", None))


class _Recorded(Reward):
    """A component that says what it said then, before any transform."""

    def __init__(self, name: str, playback: _Playback) -> None:
        self.name, self._playback = name, playback

    def __call__(self, sequences: Sequences) -> Scores:
        parts, key = self._playback.now.scores.parts, self.name
        if key not in parts:
            return Scores.of(self.name, torch.full((len(sequences),), torch.nan))
        while key + RAW in parts:
            key += RAW
        return Scores.of(self.name, parts[key])


def _round(line: Mapping[str, Any]) -> RoundScores:
    values_B = _tensor(line["total"])
    parts = {name: _tensor(values) for name, values in line["parts"].items()}
    sizes = {len(values_B), len(line["texts"]), *map(len, parts.values())}
    if len(sizes) != 1:
        raise ValueError(f"its columns hold {sorted(sizes)} values")
    scores = Scores(values_B, ~values_B.isnan(), parts)
    return RoundScores(int(line["round"]), int(line["timesteps"]), list(line["texts"]), scores)


def _plain(values_B: Tensor) -> list[float | None]:
    """The values with nine digits, which is all of a float32; None for NaN."""
    return [None if v != v else float(f"{v:.9g}") for v in values_B.tolist()]


def _tensor(values: list[float | None]) -> Tensor:
    return torch.tensor([torch.nan if v is None else v for v in values], dtype=torch.float32)


def _number(path: Path, line: bytes) -> int:
    try:
        return int(json.loads(line)["round"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds a line that is no round of scores: {error!r}") from error


def _end_of_rounds(path: Path, rounds: int) -> int:
    """Where the whole lines of the first ``rounds`` rounds end, in bytes."""
    end = 0
    with open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n") or _number(path, line) >= rounds:
                break
            end += len(line)
    return end
