"""People as a reward: what assessors say of some samples, learnt, is what all are worth.

In every update new samples go on the queue of a question, ratings that came meanwhile are read, and
when they are enough the preference model learns from all that stand. Nobody is waited for, but for
``min_ratings`` before the first round, and a store that cannot be reached leaves the model as it
is.

What a component does not know it must not say: until held-out predictions beat guessing
(preference.py), every sample is worth 0.5, and ok. A constant changes no gradient of an agent with
a baseline, so ``0.5 * ConvDiscriminator() + 0.5 * Assessors()`` begins as the discriminator alone;
values that were not ok would have kept that from being learnt from, too.

The reward is the mean of the members less ``caution`` times their standard deviation, a lower
confidence bound: where they disagree, far from what was rated, there is less to be gained from an
error of the model (Coste et al., 2023, "Reward model ensembles help mitigate overoptimization",
arXiv 2310.02743).
"""

# Shapes: M members, B sequences, T steps
from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor
from tqdm import tqdm

from ..base import Scores, TrainableReward
from ..checks import check_choice, check_whole
from ..state import State
from .choosing import distinct
from .inquiry import Inquiry, Patience, domain_of, open_inquiry
from .preference import PreferenceModel
from .questions import Questions
from .ratings import DOMAINS, Domain, Form, Rating, RatingsFile
from .reliability import reliability

if TYPE_CHECKING:
    from ...envs.sequences import Sequences
    from ...envs.vocabulary import Vocabulary

_LEAST_NEW, _SHARE_NEW = 10, 0.2  # ratings to learn anew from: so many, and of those known
_REMEMBERED = 64  # questions that may be asked again
_POLL = 1.0  # seconds between two looks, while a first batch is waited for


class Assessors(TrainableReward):
    """What people prefer, learnt from their ratings: in [0, 1], 0.5 as long as nothing is known.

    The value is a careful estimate of the probability that a sample wins a comparison with a random
    one of those that were asked about at random.

    Args:
        store: ``sqlite:///ratings.sqlite``, ``postgresql+psycopg://...``, or a file of ratings that
            grows, ``ratings.csv`` or ``.jsonl``; by default ``ratings.sqlite`` in the run's folder.
        question: what is asked of a sample, or of two.
        form: ``"pair"`` (left, right, equal), ``"scale"`` (1 to 5) or ``"yes_no"``.
        domain: ``"molecules"``, ``"melodies"`` or ``"text"``, how samples are shown; by default
            what the vocabulary says.
        min_ratings: wait for so many before the first round; skipped questions are none.
        queue: how many questions are kept waiting for an answer.
        random_share: of the questions, how many ask about samples at random.
        repeat_share: how many ask once more, a pair the other way round.
        gold: a file of ratings whose answers are taken for known; some are asked again to see how
            well the assessors do.
        gold_share: of the questions, how many.
        caution: c, of which c standard deviations of the ensemble are taken from its mean.
        members: M, encoders in the ensemble.
        hidden: units of an encoder.
    """

    name = "assessors"
    credit = "terminal"
    from_outside = True
    range = (0.0, 1.0)

    def __init__(
        self,
        store: str | None = None,
        question: str = "",
        *,
        form: Form = "pair",
        domain: Domain | None = None,
        min_ratings: int = 0,
        queue: int = 40,
        random_share: float = 0.5,
        repeat_share: float = 0.05,
        gold: str | None = None,
        gold_share: float = 0.05,
        caution: float = 1.0,
        members: int = 5,
        hidden: int = 32,
    ) -> None:
        if not isinstance(question, str) or not question.strip():
            raise ValueError(
                f"question is {question!r}; expected what assessors are asked, such as "
                "question='Which is easier to make?'"
            )
        check_choice(get_args(Form), form=form)
        check_choice(DOMAINS, domain=domain or "text")
        check_whole(0, min_ratings=min_ratings)
        check_whole(1, queue=queue, hidden=hidden)
        check_whole(2, members=members)
        if not 0 <= caution < float("inf"):
            raise ValueError(f"caution is {caution!r}; expected at least 0")
        self.store, self.question, self.form, self.domain = store, question, form, domain
        self.min_ratings, self.queue, self.caution = min_ratings, queue, caution
        known = [] if gold is None else RatingsFile(gold, form=form).ratings()
        if gold is not None and not known:
            raise ValueError(f"there is no rating in gold={gold!r}; is it the right file?")
        self._questions = Questions(
            random_share=random_share, repeat_share=repeat_share, gold=known, gold_share=gold_share
        )
        self.members, self.hidden = members, hidden
        self.vocabulary: Vocabulary | None = None
        self._canonical: Callable[[str], str | None] | None = None
        self._inquiry: Inquiry | None = None
        self._patience = Patience()
        self._spreads: list[float] = []

    # --- before a run -------------------------------------------------------------------------

    def adopt_canonical(self, canonical: Callable[[str], str | None] | None) -> None:
        """Take samples with one canonical form for one, and ask about none that has none."""
        self._canonical = canonical

    def adopt_folder(self, folder: Path) -> None:
        """Keep the ratings there, if nothing else was said."""
        if self.store is None:
            path = str(folder / "ratings.sqlite").replace("%", "%25").replace("?", "%3F")
            self.store = f"sqlite:///{path}"

    def prepare(self, vocabulary: Vocabulary, max_length: int, device: torch.device | str) -> None:
        """Make the model; later calls only move it.

        Raises:
            ValueError: it was made for another vocabulary.
        """
        if self.vocabulary is None:
            self.vocabulary, self.device = vocabulary, device
            self.domain = self.domain or domain_of(vocabulary)
            self.max_length = max_length
            self.initialise(seed=0)
        elif self.vocabulary != vocabulary:
            raise ValueError(
                f"these assessors rate sequences of {self.vocabulary}, not of {vocabulary}; make "
                "others for each task"
            )
        self.max_length = max(self.max_length, max_length)
        self.device = device
        self.model.to(device)

    def initialise(self, seed: int) -> None:
        """Make the weights anew, as if no rating had been read; they stay in the store."""
        assert self.vocabulary is not None, "prepare comes first"
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = PreferenceModel(self.vocabulary, self.form, self.members, self.hidden)
        self.model.to(self.device)
        self.network = self.model.network
        self.updates, self.seen, self.known = 0, 0, 0
        self.figures: dict[str, float] = {}
        self.rated: list[tuple[str, str | None]] = []
        self._enough = self.min_ratings == 0

    # --- scores -------------------------------------------------------------------------------

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences: mean - caution * standard deviation of the members, in [0, 1]."""
        tokens_BT = self._tokens(sequences)
        value_MB = self.model.preferred(tokens_BT)
        spread_B = value_MB.std(dim=0, correction=0)
        self._spreads.append(float(spread_B.mean()) if len(sequences) else 0.0)
        value_B = (value_MB.mean(dim=0) - self.caution * spread_B).clamp(0, 1)
        return Scores.of(self.name, value_B.to(sequences.tokens_BT.device))

    def _adopt(self, sequences: Sequences) -> None:
        """Read sequences of this vocabulary from now on, and no others.

        Raises:
            ValueError: they are of another one.
        """
        if self.vocabulary is None:  # used by hand, outside an environment or an agent
            length = sequences.tokens_BT.shape[1]
            self.prepare(sequences.vocabulary, length, sequences.tokens_BT.device)
        if self.vocabulary != sequences.vocabulary:
            raise ValueError(
                f"these assessors rate sequences of {self.vocabulary}, and these are of "
                f"{sequences.vocabulary}; make others for each task"
            )

    def _tokens(self, sequences: Sequences) -> Tensor:
        self._adopt(sequences)
        longest = int(sequences.lengths_B.max()) if len(sequences) else 0
        return sequences.padded(max(longest, 1)).tokens_BT.to(self.device)

    def take_statistics(self) -> dict[str, float]:
        """The milliseconds, and the mean ``spread``: the members' standard deviation."""
        spreads, self._spreads = self._spreads, []
        return super().take_statistics() | {"spread": sum(spreads) / max(len(spreads), 1)}

    def close(self) -> None:
        """Close the store; the next update opens it again."""
        if self._inquiry is not None:
            self._inquiry.close()
        self._inquiry = None

    # --- learning -----------------------------------------------------------------------------

    def update(self, real: Sequences, generated: Sequences) -> dict[str, float]:
        """Read ratings, learn from them when they are enough, and ask about what was written.

        Returns:
            What the model stands on and how good it is (``PreferenceModel.metrics``), how far
            answers can be relied on, ``waiting`` questions, and ``unreachable``, 1 where the store
            could not be used.

        Raises:
            ValueError: no store was named, outside a run.
            StoreError: it could not be used in the first update.
        """
        self._adopt(generated)
        inquiry = self.open()
        waiting = 0
        if inquiry is not None:
            self._learn(self._patience.tried(lambda: self._enough_new(inquiry)))
            aim = self.queue if self._enough else max(self.queue, self.min_ratings)
            waiting = self._ask(inquiry, generated, aim)
            if not self._enough:
                self._wait(inquiry, generated, waiting)
        self.updates += 1
        if self._patience.failing:
            self.close()  # what took its place, or came back, is opened anew
        state = {"waiting": float(waiting), "unreachable": float(self._patience.failing)}
        return {**self.model.metrics, **self.figures, **state}

    def open(self) -> Inquiry | None:
        """The question; None where it cannot be had, which is an error when a run begins.

        Raises:
            ValueError: no store was named, outside a run; or in its file is what is no rating.
            OSError: it cannot be used.
        """
        if self._inquiry is None:
            if self.store is None:
                raise ValueError(
                    "the assessors have no store; outside a run give one, such as "
                    "store='sqlite:///ratings.sqlite' or store='ratings.csv'"
                )
            assert self.domain is not None
            arguments = self.store, self.question, self.form, self.domain
            if self.updates == 0:
                self._inquiry = open_inquiry(*arguments)
                self._inquiry.ratings()
            else:
                self._inquiry = self._patience.tried(lambda: open_inquiry(*arguments))
        return self._inquiry

    def _enough_new(self, inquiry: Inquiry) -> list[Rating] | None:
        """All ratings that stand, once a fifth of those known came anew."""
        new = inquiry.ratings(self.seen)
        standing = [] if new or not self.seen else inquiry.ratings()
        if standing and standing[-1].id < self.seen:  # another store, or a file begun anew
            self.seen, new = 0, standing
        enough = len(new) >= max(_LEAST_NEW, _SHARE_NEW * self.known)
        return inquiry.ratings() if enough else None  # withdrawn ones are gone

    def _learn(self, ratings: list[Rating] | None) -> None:
        """Fit the model to these ratings, if any."""
        if not ratings:
            return
        self.seen, self.known = ratings[-1].id, len(ratings)
        given = self.model.read(ratings, self.max_length)
        unread = len(ratings) - (0 if given is None else len(given))
        self.figures = {**reliability(ratings), "unreadable": float(unread)}
        if 2 * unread > len(ratings):
            warnings.warn(
                f"{unread} of {len(ratings)} ratings are left out: their texts, such as "
                f"{ratings[-1].left[:80]!r}, have tokens that the vocabulary lacks, or more than "
                f"{self.max_length}",
                stacklevel=2,
            )
        if given is not None:
            self.model.fit(given)
            self.rated = [(r.left, r.right) for r in ratings[-_REMEMBERED:]]

    def _ask(self, inquiry: Inquiry, generated: Sequences, aim: int) -> int:
        """Fill the queue up; how many questions are waiting, as far as it can be reached."""
        waiting = self._patience.tried(inquiry.waiting) if inquiry.has_queue else None
        if waiting is None:
            return 0
        if waiting >= aim:
            return waiting
        rows = distinct(generated.texts, self._canonical or (lambda text: text), set())
        new, priority = generated[rows], float(self.updates)  # the newest are asked first
        items = self._questions.make(
            aim - waiting, self.model, new.texts, self._tokens(new), self.rated, priority
        )
        return waiting + (self._patience.tried(lambda: inquiry.ask(items)) or 0)

    def _wait(self, inquiry: Inquiry, generated: Sequences, waiting: int) -> None:
        """Wait for the first ratings, as soon as there are enough questions; Ctrl-C ends it.

        A question that was skipped gives no rating, so others are asked; where there are no others
        the next update asks more.
        """
        there = len(self._patience.tried(inquiry.ratings) or [])
        if inquiry.has_queue and there + waiting < self.min_ratings:
            return
        with tqdm(
            total=self.min_ratings, initial=there, desc="waiting for ratings, as of tokengym assess"
        ) as bar:
            while there < self.min_ratings:
                time.sleep(_POLL)
                left = self._patience.tried(inquiry.waiting)  # before the ratings: none is missed
                found = self._patience.tried(inquiry.ratings)
                if left is None or found is None:
                    continue
                there = len(found)
                bar.update(min(there, self.min_ratings) - bar.n)
                if inquiry.has_queue and there + left < self.min_ratings:
                    left = self._ask(inquiry, generated, max(self.queue, self.min_ratings - there))
                    if there + left < self.min_ratings:
                        return
        self._enough = True
        self._learn(self._patience.tried(inquiry.ratings))

    # --- what a checkpoint keeps ----------------------------------------------------------------

    def state(self) -> State:
        """The model, and which ratings it has read."""
        tensors, model = self.model.state()
        kept = ("updates", "seen", "known", "figures", "rated")
        return tensors, {"model": model, **{name: getattr(self, name) for name in kept}}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """The inverse of ``state``."""
        self.model.restore(tensors, state["model"])
        self.updates, self.seen = int(state["updates"]), int(state["seen"])
        self.known = int(state["known"])
        self.figures = {str(name): float(value) for name, value in state["figures"].items()}
        self.rated = [
            (str(left), None if right is None else str(right)) for left, right in state["rated"]
        ]
        self._enough = self._enough or self.known >= self.min_ratings
