"""Rewards by name: ``"qed"``, ``"my_module:my_objective"``, or an expression of these.

An expression holds names, numbers, ``+``, ``*`` and calls with literal keywords:
``0.5 * conv_discriminator(dropout=0.1) + 0.5 * qed * valid``. It is parsed, never evaluated.
Installed packages add names through the entry-point group ``tokengym.objectives``.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import re
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import cast

from .base import Reward
from .function import BatchFunction, FunctionObjective

_TARGETS = {
    "conv_discriminator": "tokengym.rewards.discriminators:ConvDiscriminator",
    "external_program": "tokengym.rewards.workers:ExternalProgram",
    "file_program": "tokengym.rewards.workers:FileProgram",
    "http": "tokengym.rewards.workers:HTTPObjective",
    "logp": "tokengym.rewards.molecules:LogP",
    "qed": "tokengym.rewards.molecules:QED",
    "ratio_of_steps": "tokengym.rewards.melodies:RatioOfSteps",
    "repetition_penalty": "tokengym.rewards.repetition:RepetitionPenalty",
    "synthetic_accessibility": "tokengym.rewards.molecules:SyntheticAccessibility",
    "tonality": "tokengym.rewards.melodies:Tonality",
    "valid": "tokengym.rewards.molecules:Valid",
}
# A reward, its name or expression, or a function of a batch of texts.
RewardSpec = Reward | str | BatchFunction

# A quoted string, which is passed by, or a reference.
_REFERENCE = re.compile(
    r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?P<reference>[A-Za-z_][\w.]*:[A-Za-z_][\w.]*)"""
)
_GROUP = "tokengym.objectives"


class UnknownRewardError(ValueError):
    """No reward has this name; the message has the nearest names."""


def register_reward(name: str, target: str) -> None:
    """Give a name to ``"module:attribute"``: a Reward, a Reward class, or a function of texts.

    Raises:
        ValueError: the name is no identifier, or is taken by another target.
    """
    if not name.isidentifier():
        raise ValueError(f"reward name {name!r} should be an identifier, like 'ring_count'")
    if _TARGETS.get(name, target) != target:
        raise ValueError(f"reward {name!r} is already {_TARGETS[name]!r}; choose another name")
    _TARGETS[name] = target


def reward_targets() -> dict[str, str]:
    """Every known name with its ``"module:attribute"``, installed packages' among them."""
    installed = {point.name: point.value for point in entry_points(group=_GROUP)}
    return dict(sorted({**installed, **_TARGETS}.items()))


def make_reward(spec: RewardSpec) -> Reward:
    """The reward that is meant: itself, by name or expression, or a function of a batch of texts.

    Raises:
        UnknownRewardError: no such name.
        ValueError: an expression that is none.
        TypeError: something else.
    """
    if isinstance(spec, Reward):
        return spec
    if isinstance(spec, str):
        return parse_reward(spec, _named)
    if isinstance(spec, type) and issubclass(spec, Reward):
        return spec()
    if callable(spec):
        return FunctionObjective(cast(BatchFunction, spec))
    raise TypeError(f"reward is {spec!r}; expected a Reward, a name, an expression or a function")


def parse_reward(text: str, lookup: Callable[[str, dict[str, object]], Reward]) -> Reward:
    """The reward that an expression means.

    Args:
        text: names, numbers, ``+``, ``*`` and calls with literal keywords.
        lookup: from a name and its keywords to the reward.

    Raises:
        ValueError: it is no such expression.
    """
    references: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
        if match["reference"] is None:
            return match.group()
        name = f"_reference_{len(references)}"
        references[name] = match.group()
        return name

    def build(node: ast.expr) -> float | Reward:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -float(number)
            case ast.Name(id=name):
                return lookup(references.get(name, name), {})
            case ast.Call(func=ast.Name(id=name), args=[], keywords=keywords):
                options = {str(k.arg): ast.literal_eval(k.value) for k in keywords}
                return lookup(references.get(name, name), options)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                a, b = build(left), build(right)
                if isinstance(a, Reward) and isinstance(b, Reward):
                    return a + b
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                return build(left) * build(right)
        raise ValueError(f"{ast.unparse(node)!r} is no reward")

    try:
        tree = ast.parse(_REFERENCE.sub(stand_in, text.strip()), mode="eval")
        reward = build(tree.body)
        if not isinstance(reward, Reward):
            raise ValueError(f"{text!r} is a number")
    except UnknownRewardError:
        raise
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"cannot read the reward {text!r} ({error}); expected a name such as 'qed', "
            "'module:attribute', or a sum of products such as '0.5 * conv_discriminator + "
            "0.5 * qed * valid'"
        ) from error
    return reward


def _named(name: str, options: dict[str, object]) -> Reward:
    targets = reward_targets()
    target = name if ":" in name else targets.get(name)
    if target is None:
        near = difflib.get_close_matches(name, targets, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(targets)}"
        raise UnknownRewardError(
            f"unknown reward {name!r}; {hint} One of your own is written 'module:attribute'."
        )
    found = load_target(target)
    if inspect.isclass(found) and issubclass(found, Reward):
        try:
            return found(**options)
        except TypeError as error:
            raise ValueError(f"reward {name!r}: {error}") from error
    if options:
        raise ValueError(f"reward {name!r} is no class and takes no options, got {options}")
    return make_reward(found)  # type: ignore[arg-type]


def load_target(target: str) -> object:
    """Import ``"module:attribute"``.

    Raises:
        UnknownRewardError: there is no such module or attribute.
    """
    module_name, _, attribute = target.partition(":")
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise  # the module is there, what it imports is not
        raise UnknownRewardError(
            f"no module {module_name!r} for the reward {target!r}; is it spelt right, and in the "
            "current folder or installed?"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UnknownRewardError(f"{module_name} has no {part!r}, wanted for {target!r}{hint}")
        found = getattr(found, part)
    return found
