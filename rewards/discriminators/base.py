"""What all discriminators share: how a network from tokens to one output is asked, and learns.

A discriminator is a network and a configuration. An update of it goes

  measure   on the batch as it comes, in eval mode, before anything is learnt from it
  gate      where the running AUC is above the gate, learn nothing: a discriminator that tells all
            apart has nothing to teach. Measuring goes on, so it takes up learning again as soon as
            the policy has caught up; one that has collapsed to a constant (AUC 0.5) always learns
  replay    half of the generated sequences replaced by older ones
  noise     on the tokens of both kinds, less with every update
  loss      a step of Adam

all of which a checkpoint keeps. Scores are always computed in eval mode, each sequence on its own.
Of completions that say which prefixes they go on from, the prefixes are read once.
"""

# Shapes: B sequences, T steps, E embedding, R rows
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..base import Scores, TrainableReward
from ..state import State
from .batches import Replay, with_noise
from .calibration import accuracy, auc, expected_calibration_error
from .forms import (
    THRESHOLDS,
    Form,
    bounds,
    default_form,
    estimates_probability,
    probability,
    worth,
)
from .losses import adversarial_loss, gradient_penalty
from .network import PrefixStates, TokenNetwork, asked
from .options import DiscriminatorOptions

if TYPE_CHECKING:
    from ...envs.sequences import Prefixes, Sequences
    from ...envs.vocabulary import Vocabulary

_CHUNK_OF_GPU = 2048  # sequences scored at once
_MEMORY = 0.9  # of the running AUC, an update: it looks about ten updates back


class Discriminator(DiscriminatorOptions, TrainableReward):
    """Says how real a sequence is; subclasses define ``make_network``."""

    range = bounds("probability", "bce")  # by default

    def __post_init__(self) -> None:
        """Check the options; the reward's form decides range and credit."""
        super().__post_init__()
        self.form: Form = self.reward or default_form(self.loss)
        self.range = bounds(self.form, self.loss)
        # A rank depends on its batch: of completions, on how they were cut into tiles.
        self.credit = "terminal" if self.form == "rank" else "rollouts"
        self.vocabulary: Vocabulary | None = None

    # --- the weights ----------------------------------------------------------------------------

    @abstractmethod
    def make_network(self, vocabulary: Vocabulary, max_length: int) -> TokenNetwork:
        """A network for sequences of this vocabulary and at most this many tokens."""

    def prepare(self, vocabulary: Vocabulary, max_length: int, device: torch.device | str) -> None:
        """Make the network; later calls only move it.

        Raises:
            ValueError: it was made for another vocabulary or a shorter length.
        """
        if self.vocabulary is None:
            self.vocabulary, self.max_length, self.device = vocabulary, max_length, device
            self.initialise(seed=0)
        elif self.vocabulary != vocabulary or self.max_length < max_length:
            raise ValueError(
                f"this discriminator reads {self.vocabulary} and up to {self.max_length} tokens, "
                f"not {vocabulary} and {max_length}; make a new one for each task"
            )
        elif self.device != device:
            self.device = device
            self.network.to(device)
            self.optimizer.load_state_dict(self.optimizer.state_dict())  # moves with the weights

    def initialise(self, seed: int) -> None:
        """Make the weights anew, and forget all that was learnt."""
        assert self.vocabulary is not None, "prepare comes first"
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = self.make_network(self.vocabulary, self.max_length)
        if self.lipschitz:
            network.embedding.weight.requires_grad_(False)
            F.normalize(network.embedding.weight, out=network.embedding.weight)
        self.network: TokenNetwork = network.to(self.device)
        learnt = [p for p in network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(learnt, lr=self.learning_rate)
        self.updates = self.skipped = 0
        self.running_auc = 0.5
        self.replayed = Replay(self.replay, self.max_length, self.vocabulary.pad)

    @property
    def lipschitz(self) -> bool:
        """Whether the steepness is bounded.

        Steepness by the embedding, which then stays as it was drawn, with rows of length 1: it is
        the metric. Learnt, it would stretch, and no bound would hold anything.
        """
        return self.loss == "wasserstein" or self.spectral_norm

    # --- scores ---------------------------------------------------------------------------------

    def __call__(self, sequences: Sequences) -> Scores:
        """What each of B sequences is worth, in the form that was asked for."""
        tokens_BT = self._read(sequences)
        with asked(self.network):
            outputs_B = self._outputs(tokens_BT, sequences)
        values_B = worth(self.form, self.loss, outputs_B)
        return Scores.of(self.name, values_B.to(sequences.tokens_BT.device))

    def _outputs(self, tokens_BT: Tensor, sequences: Sequences) -> Tensor:
        prefixes = sequences.prefixes
        states = None if prefixes is None else self._read_prefixes(prefixes)
        lengths_B = sequences.lengths_B.to(self.device)
        order_B = lengths_B.argsort(stable=True)  # so that what is read at once is equally long
        outputs = [tokens_BT.new_zeros(0, dtype=self.network.output.weight.dtype)]
        chunk = self.network.chunk if tokens_BT.device.type == "cpu" else _CHUNK_OF_GPU
        for rows_R in order_B.split(chunk) if len(order_B) else ():
            tokens_RT = tokens_BT[rows_R, : max(int(lengths_B[rows_R[-1]]), 1)]
            if prefixes is None or states is None:
                outputs.append(self.network.fast_outputs(tokens_RT))
            else:
                place = prefixes.length - 1, prefixes.rows_R.to(self.device)[rows_R]
                shared = tuple(state[place] for state in states)
                outputs.append(self.network.completed_outputs(tokens_RT, prefixes.length, shared))
        return torch.cat(outputs)[order_B.argsort()]

    def _read_prefixes(self, prefixes: Prefixes) -> PrefixStates | None:
        if self.network not in prefixes.kept:
            prefixes.kept[self.network] = self.network.read_prefixes(self._read(prefixes.sequences))
        return cast("PrefixStates | None", prefixes.kept[self.network])

    def _read(self, sequences: Sequences) -> Tensor:
        if self.vocabulary is None:  # used by hand, outside an environment or an agent
            length = sequences.tokens_BT.shape[1]
            self.prepare(sequences.vocabulary, length, sequences.tokens_BT.device)
        elif self.vocabulary != sequences.vocabulary:
            raise ValueError(
                f"this discriminator reads {self.vocabulary}, the sequences are of "
                f"{sequences.vocabulary}; make a new one for each task"
            )
        longest = int(sequences.lengths_B.max()) if len(sequences) else 0
        if longest > self.max_length:
            raise ValueError(
                f"this discriminator reads up to {self.max_length} tokens and a sequence has "
                f"{longest}; call prepare(vocabulary, max_length, device) before its first use"
            )
        tokens_BT = sequences.padded(max(longest, 1)).tokens_BT
        return tokens_BT.to(self.device)

    # --- learning -------------------------------------------------------------------------------

    def update(self, real: Sequences, generated: Sequences) -> dict[str, float]:
        """Learn from one batch of each, as the top of the file says.

        Returns:
            ``auc`` and the ``difference`` of the mean outputs of real and generated sequences;
            ``accuracy`` and ``calibration_error`` for losses that have them; ``skipped``, all
            updates so far that were; unless this one is, ``loss`` and the ``gradient_penalty``.
        """
        real_BT, generated_BT = self._read(real), self._read(generated)
        metrics = self._measure(real_BT, generated_BT)
        self.running_auc = _MEMORY * self.running_auc + (1 - _MEMORY) * metrics["auc"]
        if self.running_auc > self.gate:
            self.skipped += 1
        else:
            metrics |= self._learn(real_BT, generated_BT)
            self.updates += 1
        return metrics | {"skipped": float(self.skipped)}

    def _measure(self, real_BT: Tensor, generated_BT: Tensor) -> dict[str, float]:
        with asked(self.network):
            real_B, generated_B = self.network(real_BT), self.network(generated_BT)
        found = {
            "auc": auc(real_B, generated_B),
            "difference": float(real_B.mean() - generated_B.mean()),
        }
        if self.loss in THRESHOLDS:
            found["accuracy"] = accuracy(real_B, generated_B, THRESHOLDS[self.loss])
        if estimates_probability(self.loss):
            p, q = (probability(self.loss, outputs_B) for outputs_B in (real_B, generated_B))
            found["calibration_error"] = expected_calibration_error(p, q)
        return found

    def _learn(self, real_BT: Tensor, generated_BT: Tensor) -> dict[str, float]:
        assert self.vocabulary is not None
        if self.replay:
            generated_BT = self.replayed.mixed(generated_BT)
        noise = self.noise * max(0.0, 1 - self.updates / self.noise_updates)
        real_BT, generated_BT = (
            with_noise(tokens_BT, noise, self.vocabulary) for tokens_BT in (real_BT, generated_BT)
        )
        self.network.train()
        real_B, generated_B = self.network(real_BT), self.network(generated_BT)
        loss = adversarial_loss(self.loss, real_B, generated_B, self.smoothing)
        metrics = {"loss": float(loss.detach())}
        output = self.network.output
        loss = loss + 0.5 * self.l2 * sum(p.square().sum() for p in (output.weight, output.bias))
        if self.loss == "wasserstein" and not self.spectral_norm:
            penalty = self._penalty(real_BT, generated_BT)
            metrics["gradient_penalty"] = float(penalty.detach())
            loss = loss + self.gradient_penalty * penalty
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._refuse_infinite(float(loss.detach()))
        self.optimizer.step()
        return metrics

    def _refuse_infinite(self, loss: float) -> None:
        """Stop before a step that would leave no weight a number.

        Raises:
            FloatingPointError: the gradient is not finite.
        """
        learnt = [p.grad for p in self.network.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(learnt)
        if not norm.isfinite():
            raise FloatingPointError(
                f"the gradient's norm is {float(norm)} in update {self.updates} of {self.name} "
                f"(loss {loss}), so it was left as it was; take a smaller learning_rate for it"
            )

    def _penalty(self, real_BT: Tensor, generated_BT: Tensor) -> Tensor:
        """Between pairs of sequences, as long as the longer: padding is embedded as zero."""
        assert self.vocabulary is not None
        pairs = min(len(real_BT), len(generated_BT))
        longest = max(real_BT.shape[1], generated_BT.shape[1])
        left_BT, right_BT = (
            F.pad(tokens_BT[:pairs], (0, longest - tokens_BT.shape[1]), value=self.vocabulary.pad)
            for tokens_BT in (real_BT, generated_BT)
        )
        mask_BT = self.network.mask(left_BT) | self.network.mask(right_BT)
        share_B = torch.rand(pairs).to(real_BT.device)
        # Fused kernels have no second derivative.
        with torch.backends.cudnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
            return gradient_penalty(
                lambda embedded_BTE: self.network.judge(embedded_BTE, mask_BT),
                self.network.embedding(left_BT),
                self.network.embedding(right_BT),
                share_B,
            )

    # --- what a checkpoint keeps ----------------------------------------------------------------

    def state(self) -> State:
        """Weights, optimiser, old sequences and the gate's running figure."""
        tensors, state = super().state()
        own = {"skipped": self.skipped, "running_auc": self.running_auc}
        return tensors | {"replay": self.replayed.tokens_RT}, state | own

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """The inverse of ``state``."""
        super().restore(tensors, state)
        self.replayed.restore(tensors["replay"])
        self.skipped, self.running_auc = int(state["skipped"]), float(state["running_auc"])
