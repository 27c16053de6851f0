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
from importlib.metadata import entry_points
from typing import cast

from .base import Reward
from .objective import BatchFunction, FunctionObjective

_TARGETS = {
    "albuterol_similarity": "tokengym.rewards.molecules.pmo:AlbuterolSimilarity",
    "amlodipine_mpo": "tokengym.rewards.molecules.pmo:AmlodipineMPO",
    "celecoxib_rediscovery": "tokengym.rewards.molecules.pmo:CelecoxibRediscovery",
    "conv_discriminator": "tokengym.rewards.discriminators:ConvDiscriminator",
    "deco_hop": "tokengym.rewards.molecules.pmo:DecoHop",
    "fexofenadine_mpo": "tokengym.rewards.molecules.pmo:FexofenadineMPO",
    "isomers_c7h8n2o2": "tokengym.rewards.molecules.pmo:IsomersC7H8N2O2",
    "isomers_c9h10n2o2pf2cl": "tokengym.rewards.molecules.pmo:IsomersC9H10N2O2PF2Cl",
    "lipinski": "tokengym.rewards.molecules:Lipinski",
    "logp": "tokengym.rewards.molecules:LogP",
    "median1": "tokengym.rewards.molecules.pmo:Median1",
    "median2": "tokengym.rewards.molecules.pmo:Median2",
    "mestranol_similarity": "tokengym.rewards.molecules.pmo:MestranolSimilarity",
    "molecular_weight": "tokengym.rewards.molecules:MolecularWeight",
    "new_molecule": "tokengym.rewards.molecules:NewMolecule",
    "np_likeness": "tokengym.rewards.molecules:NPLikeness",
    "organ_conciseness": "tokengym.rewards.molecules:OrganConciseness",
    "organ_diversity": "tokengym.rewards.molecules:OrganDiversity",
    "organ_druglikeness": "tokengym.rewards.molecules:OrganDruglikeness",
    "organ_naturalness": "tokengym.rewards.molecules:OrganNaturalness",
    "organ_novelty_hard": "tokengym.rewards.molecules:OrganHardNovelty",
    "organ_novelty_soft": "tokengym.rewards.molecules:OrganSoftNovelty",
    "organ_solubility": "tokengym.rewards.molecules:OrganSolubility",
    "organ_synthesizability": "tokengym.rewards.molecules:OrganSynthesizability",
    "osimertinib_mpo": "tokengym.rewards.molecules.pmo:OsimertinibMPO",
    "perindopril_mpo": "tokengym.rewards.molecules.pmo:PerindoprilMPO",
    "qed": "tokengym.rewards.molecules:QED",
    "ranolazine_mpo": "tokengym.rewards.molecules.pmo:RanolazineMPO",
    "ratio_of_steps": "tokengym.rewards.melodies:RatioOfSteps",
    "repetition_penalty": "tokengym.rewards.repetition:RepetitionPenalty",
    "rings": "tokengym.rewards.molecules:Rings",
    "scaffold": "tokengym.rewards.molecules:Scaffold",
    "scaffold_hop": "tokengym.rewards.molecules.pmo:ScaffoldHop",
    "similarity": "tokengym.rewards.molecules:Similarity",
    "sitagliptin_mpo": "tokengym.rewards.molecules.pmo:SitagliptinMPO",
    "substructure": "tokengym.rewards.molecules:Substructure",
    "synthetic_accessibility": "tokengym.rewards.molecules:SyntheticAccessibility",
    "thiothixene_rediscovery": "tokengym.rewards.molecules.pmo:ThiothixeneRediscovery",
    "tonality": "tokengym.rewards.melodies:Tonality",
    "tpsa": "tokengym.rewards.molecules:TPSA",
    "troglitazone_rediscovery": "tokengym.rewards.molecules.pmo:TroglitazoneRediscovery",
    "valid": "tokengym.rewards.molecules:Valid",
    "valsartan_smarts": "tokengym.rewards.molecules.pmo:ValsartanSMARTS",
    "zaleplon_mpo": "tokengym.rewards.molecules.pmo:ZaleplonMPO",
}
# A reward, its name or expression, or a function of a batch of texts.
RewardSpec = Reward | str | BatchFunction

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
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
        return _parse(spec)
    if isinstance(spec, type) and issubclass(spec, Reward):
        return spec()
    if callable(spec):
        return FunctionObjective(cast(BatchFunction, spec))
    raise TypeError(f"reward is {spec!r}; expected a Reward, a name, an expression or a function")


def _parse(text: str) -> Reward:
    references: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
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
                return _named(references.get(name, name), {})
            case ast.Call(func=ast.Name(id=name), args=[], keywords=keywords):
                options = {str(k.arg): ast.literal_eval(k.value) for k in keywords}
                return _named(references.get(name, name), options)
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
