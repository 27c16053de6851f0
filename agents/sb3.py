"""For Stable-Baselines3's own agents: what reads a prefix, and a generator of ours as their policy.

    PPO("MlpPolicy", env, policy_kwargs=dict(features_extractor_class=GRUExtractor))
    PPO(GeneratorPolicy, env, policy_kwargs=dict(generator=pretrained))

An agent there sees one padded prefix a step and reads it from its beginning each time, O(T^2) for a
sequence; this project's agents read it once. Left out: a generator's state between steps, for which
Stable-Baselines3 has no place.
"""

# Shapes: B prefixes, T = max_length tokens, L <= T the longest of a batch, A actions, V = A + 2
# inputs, F features, H hidden units
from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from .policies import Policy


class _PrefixExtractor(BaseFeaturesExtractor):
    """Reads ``bos`` and the tokens so far; subclasses define ``encode``.

    A prefix is cut to the longest of its batch and read at its own last token by a causal network,
    so the padding after it changes nothing.
    """

    def __init__(self, observation_space: gym.Space[Any], features: int) -> None:
        tokens, condition = observation_space, 0
        if isinstance(observation_space, gym.spaces.Dict):  # what WithCondition shows
            tokens = observation_space["tokens"]
            condition = int(np.prod(observation_space["condition"].shape or ()))
        if not isinstance(tokens, gym.spaces.Box) or tokens.dtype != np.int64 or tokens.shape == ():
            raise ValueError(
                f"the observation space is {tokens}; expected the Box of int64 tokens of a "
                "TokenEnv, or a Dict that holds it under 'tokens'"
            )
        super().__init__(observation_space, features + condition)
        self.max_length = tokens.shape[0]
        self.num_inputs = int(tokens.high.max()) + 1
        self.pad, self.bos = self.num_inputs - 1, self.num_inputs - 2

    def encode(self, inputs_BL: Tensor) -> Tensor:
        """Features (B, L, F), those at t of the tokens up to t."""
        raise NotImplementedError

    def forward(self, observations: PyTorchObs) -> Tensor:
        """Features (B, F) of prefixes, and the condition where there is one."""
        tokens = observations["tokens"] if isinstance(observations, dict) else observations
        tokens_BL, lengths_B = _cut(tokens, self.pad)
        bos_B1 = tokens_BL.new_full((len(tokens_BL), 1), self.bos)
        features_BLF = self.encode(torch.cat([bos_B1, tokens_BL], dim=1))
        features_BF = _at(features_BLF, lengths_B)
        if isinstance(observations, dict):
            features_BF = torch.cat([features_BF, observations["condition"].flatten(1)], dim=1)
        return features_BF


class GRUExtractor(_PrefixExtractor):
    """Embedding and GRU over the tokens so far.

    Args:
        observation_space: of a ``TokenEnv``, or ``WithCondition`` around it.
        embedding: size of a token's embedding.
        hidden: H, units, and as many features.
        layers: how many layers.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        embedding: int = 32,
        hidden: int = 64,
        layers: int = 1,
    ) -> None:
        super().__init__(observation_space, hidden)
        self.embedding = nn.Embedding(self.num_inputs, embedding)
        self.network = nn.GRU(embedding, hidden, layers, batch_first=True)

    def encode(self, inputs_BL: Tensor) -> Tensor:
        """The hidden states (B, L, H)."""
        hidden_BLH: Tensor = self.network(self.embedding(inputs_BL))[0]
        return hidden_BLH


class TransformerExtractor(_PrefixExtractor):
    """Embedding, learnt positions and a causal Transformer (normalised before each layer).

    Without dropout: PPO compares the probability of an action before and after an update.

    Args:
        observation_space: of a ``TokenEnv``, or ``WithCondition`` around it.
        embedding: size of a token's embedding, and as many features.
        heads: of the attention; they share ``embedding``.
        layers: how many layers.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        embedding: int = 64,
        heads: int = 4,
        layers: int = 2,
    ) -> None:
        if embedding % heads:
            raise ValueError(f"embedding {embedding} should be a multiple of heads {heads}")
        super().__init__(observation_space, embedding)
        self.embedding = nn.Embedding(self.num_inputs, embedding)
        self.positions = nn.Embedding(self.max_length + 1, embedding)
        layer = nn.TransformerEncoderLayer(
            embedding, heads, 4 * embedding, dropout=0.0, batch_first=True, norm_first=True
        )
        norm = nn.LayerNorm(embedding)
        self.network = nn.TransformerEncoder(layer, layers, norm, enable_nested_tensor=False)

    def encode(self, inputs_BL: Tensor) -> Tensor:
        """The last layer (B, L, F)."""
        L = inputs_BL.shape[1]
        steps_L = torch.arange(L, device=inputs_BL.device)
        mask_LL = steps_L[:, None] < steps_L  # True: may not be seen
        embedded = self.embedding(inputs_BL) + self.positions(steps_L)
        features_BLF: Tensor = self.network(embedded, mask=mask_LL, is_causal=True)
        return features_BLF


class GeneratorPolicy(ActorCriticPolicy):
    """A policy of ours as the actor of PPO or A2C, beside a critic that reads the prefix itself.

    The generator is trained in place: what comes out is the object that went in, and ``generator``
    is where to find it after loading. It stays in eval mode, since PPO compares the probability of
    an action before and after an update, and dropout would change it.

    Args:
        observation_space: of a ``TokenEnv``.
        action_space: of a ``TokenEnv``.
        lr_schedule: of the remaining progress.
        generator: the pretrained policy.
        net_arch: widths of the critic's hidden layers, after its features.
        features_extractor_class: what the critic reads the prefix with.
        **kwargs: as for ``ActorCriticPolicy``.

    Raises:
        ValueError: the generator writes other tokens than the environment takes.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        lr_schedule: Schedule,
        generator: Policy,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        features_extractor_class: type[BaseFeaturesExtractor] = GRUExtractor,
        **kwargs: Any,
    ) -> None:
        reader = _Generator(observation_space, generator)
        if not isinstance(net_arch, dict):
            net_arch = dict(pi=[], vf=[64] if net_arch is None else net_arch)
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=net_arch,
            features_extractor_class=features_extractor_class,
            **{**kwargs, "share_features_extractor": False},
        )
        # In place of what was made for the actor, and after it, because making it draws weights.
        self.features_extractor = self.pi_features_extractor = reader
        self.action_net = nn.Identity()
        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

    @property
    def generator(self) -> Policy:
        """The policy of ours that is the actor."""
        reader = self.pi_features_extractor
        assert isinstance(reader, _Generator)
        return reader.generator

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "generator": self.generator}


class _Generator(BaseFeaturesExtractor):
    """A generator's logits of the next token, in the place of an actor's features."""

    def __init__(self, observation_space: gym.Space[Any], generator: Policy) -> None:
        vocabulary = generator.vocabulary
        highest = observation_space.high if isinstance(observation_space, gym.spaces.Box) else None
        if highest is None or highest.shape == () or highest.max() != vocabulary.num_inputs - 1:
            raise ValueError(
                f"the generator writes {vocabulary} and the observation space is "
                f"{observation_space}; make the environment with vocabulary=generator.vocabulary"
            )
        super().__init__(observation_space, vocabulary.num_actions)
        self.generator = generator

    def forward(self, observations: Tensor) -> Tensor:
        """Logits (B, A) after prefixes (B, T)."""
        tokens_BL, lengths_B = _cut(observations, self.generator.vocabulary.pad)
        # One column more: the logits at t are those given the tokens before t.
        tokens_BL = nn.functional.pad(tokens_BL, (0, 1), value=self.generator.vocabulary.pad)
        # cuDNN has no backward pass of a recurrent network in eval mode; PyTorch itself has.
        with torch.backends.cudnn.flags(enabled=not torch.is_grad_enabled()):
            return _at(self.generator(tokens_BL), lengths_B)

    def train(self, mode: bool = True) -> _Generator:
        """Only what is around the generator: it stays in eval mode."""
        super().train(mode)
        self.generator.eval()
        return self


def _cut(tokens_BT: Tensor, pad: int) -> tuple[Tensor, Tensor]:
    """Prefixes int64 (B, L), L the longest of them, and their lengths."""
    tokens_BT = tokens_BT.long()  # Stable-Baselines3 hands on every Box as floats
    lengths_B = (tokens_BT != pad).sum(dim=1)
    return tokens_BT[:, : int(lengths_B.max())], lengths_B


def _at(values_BLF: Tensor, steps_B: Tensor) -> Tensor:
    """Of each row the values at its own step, (B, F)."""
    return values_BLF[torch.arange(len(steps_B), device=steps_B.device), steps_B]
