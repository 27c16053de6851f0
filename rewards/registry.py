"""Rewards by name: ``"qed"``, ``"my_module:my_objective"``, or an expression of these.

An expression holds names, numbers, ``+``, ``*`` and calls, with rewards by position and literal
options by keyword: ``0.5 * conv_discriminator + 0.5 * sigmoid(qed, low=0.2, high=0.8)``. It is
parsed, never evaluated. Installed packages add names through the entry-point group
``tokengym.objectives``.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import cast

from .base import Reward
from .expressions import UnknownTargetError, literal, load_target, parse_expression
from .function import BatchFunction, FunctionObjective
from .objective import ObjectiveOptions

_TARGETS = {
    "albuterol_similarity": "tokengym.rewards.molecules.pmo:AlbuterolSimilarity",
    "alternate": "tokengym.rewards.schedules:Alternate",
    "amlodipine_mpo": "tokengym.rewards.molecules.pmo:AmlodipineMPO",
    "assessors": "tokengym.rewards.assessors:Assessors",
    "bleu": "tokengym.rewards.bleu:BLEU",
    "celecoxib_rediscovery": "tokengym.rewards.molecules.pmo:CelecoxibRediscovery",
    "chebyshev": "tokengym.rewards.combining:Chebyshev",
    "classifier": "tokengym.rewards.classifier:Classifier",
    "clip": "tokengym.rewards.transforms:Clip",
    "conv_discriminator": "tokengym.rewards.discriminators:ConvDiscriminator",
    "corpus_closeness": "tokengym.rewards.melody_shapes:CorpusCloseness",
    "coverage": "tokengym.rewards.sets:Coverage",
    "curriculum": "tokengym.rewards.schedules:Curriculum",
    "deco_hop": "tokengym.rewards.molecules.pmo:DecoHop",
    "diversity_memory": "tokengym.rewards.diversity_memory:DiversityMemory",
    "double_sigmoid": "tokengym.rewards.transforms:DoubleSigmoid",
    "external_program": "tokengym.rewards.workers:ExternalProgram",
    "fcd": "tokengym.rewards.sets.fcd:FCD",
    "fexofenadine_mpo": "tokengym.rewards.molecules.pmo:FexofenadineMPO",
    "file_program": "tokengym.rewards.workers:FileProgram",
    "gaussian": "tokengym.rewards.transforms:Gaussian",
    "geometric_mean": "tokengym.rewards.combining:GeometricMean",
    "http": "tokengym.rewards.workers:HTTPObjective",
    "internal_diversity": "tokengym.rewards.sets.diversity:InternalDiversity",
    "isomers_c7h8n2o2": "tokengym.rewards.molecules.pmo:IsomersC7H8N2O2",
    "isomers_c9h10n2o2pf2cl": "tokengym.rewards.molecules.pmo:IsomersC9H10N2O2PF2Cl",
    "known_pairs": "tokengym.rewards.texts:KnownPairs",
    "known_words": "tokengym.rewards.texts:KnownWords",
    "length": "tokengym.rewards.texts:Length",
    "linear": "tokengym.rewards.transforms:Linear",
    "lipinski": "tokengym.rewards.molecules:Lipinski",
    "logp": "tokengym.rewards.molecules:LogP",
    "max_gaussian": "tokengym.rewards.transforms:MaxGaussian",
    "mean": "tokengym.rewards.combining:Mean",
    "median1": "tokengym.rewards.molecules.pmo:Median1",
    "median2": "tokengym.rewards.molecules.pmo:Median2",
    "melodicity": "tokengym.rewards.melodies:Melodicity",
    "mestranol_similarity": "tokengym.rewards.molecules.pmo:MestranolSimilarity",
    "min_gaussian": "tokengym.rewards.transforms:MinGaussian",
    "molecular_weight": "tokengym.rewards.molecules:MolecularWeight",
    "motif_repetition": "tokengym.rewards.melody_shapes:MotifRepetition",
    "new_molecule": "tokengym.rewards.molecules:NewMolecule",
    "novelty": "tokengym.rewards.sets:Novelty",
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
    "pareto": "tokengym.rewards.combining:Pareto",
    "pattern": "tokengym.rewards.pattern:Pattern",
    "perindopril_mpo": "tokengym.rewards.molecules.pmo:PerindoprilMPO",
    "perplexity": "tokengym.rewards.perplexity:Perplexity",
    "pitch_range": "tokengym.rewards.melody_shapes:PitchRange",
    "qed": "tokengym.rewards.molecules:QED",
    "ramp": "tokengym.rewards.schedules:Ramp",
    "ranolazine_mpo": "tokengym.rewards.molecules.pmo:RanolazineMPO",
    "ratio_of_steps": "tokengym.rewards.melodies:RatioOfSteps",
    "recurrent_discriminator": "tokengym.rewards.discriminators:RecurrentDiscriminator",
    "repetition_penalty": "tokengym.rewards.repetition:RepetitionPenalty",
    "reverse_sigmoid": "tokengym.rewards.transforms:ReverseSigmoid",
    "rhythm_entropy": "tokengym.rewards.melody_shapes:RhythmEntropy",
    "rings": "tokengym.rewards.molecules:Rings",
    "scaffold": "tokengym.rewards.molecules:Scaffold",
    "scaffold_hop": "tokengym.rewards.molecules.pmo:ScaffoldHop",
    "sigmoid": "tokengym.rewards.transforms:Sigmoid",
    "similarity": "tokengym.rewards.molecules:Similarity",
    "sitagliptin_mpo": "tokengym.rewards.molecules.pmo:SitagliptinMPO",
    "step": "tokengym.rewards.transforms:Step",
    "substructure": "tokengym.rewards.molecules:Substructure",
    "synthetic_accessibility": "tokengym.rewards.molecules:SyntheticAccessibility",
    "thiothixene_rediscovery": "tokengym.rewards.molecules.pmo:ThiothixeneRediscovery",
    "tonality": "tokengym.rewards.melodies:Tonality",
    "tpsa": "tokengym.rewards.molecules:TPSA",
    "transformer_discriminator": "tokengym.rewards.discriminators:TransformerDiscriminator",
    "troglitazone_rediscovery": "tokengym.rewards.molecules.pmo:TroglitazoneRediscovery",
    "uniqueness": "tokengym.rewards.sets:Uniqueness",
    "valid": "tokengym.rewards.molecules:Valid",
    "valsartan_smarts": "tokengym.rewards.molecules.pmo:ValsartanSMARTS",
    "value_map": "tokengym.rewards.transforms:ValueMap",
    "weighted_product": "tokengym.rewards.combining:WeightedProduct",
    "zaleplon_mpo": "tokengym.rewards.molecules.pmo:ZaleplonMPO",
}
# A reward, its name or expression, or a function of a batch of texts.
RewardSpec = Reward | str | BatchFunction
# From a name, the rewards in its brackets and its options, to a reward.
Lookup = Callable[[str, Sequence[object], dict[str, object]], Reward]

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
    for name in installed.keys() & _TARGETS.keys():
        if installed[name] != _TARGETS[name]:
            warnings.warn(
                f"an installed package calls {installed[name]!r} {name!r}, which is "
                f"{_TARGETS[name]!r} here; write it as {installed[name]!r}",
                stacklevel=2,
            )
    return dict(sorted({**installed, **_TARGETS}.items()))


def make_reward(spec: RewardSpec) -> Reward:
    """The reward that is meant: itself, by name or expression, or a function of a batch of texts.

    Raises:
        UnknownRewardError: no such name.
        UnknownTargetError: no such module, or it has no such attribute.
        ValueError: an expression that is none.
        TypeError: something else.
    """
    if isinstance(spec, Reward):
        return spec
    if isinstance(spec, str):
        return parse_reward(spec, named_reward)
    if isinstance(spec, type) and issubclass(spec, Reward):
        return spec()
    if callable(spec):
        return FunctionObjective(cast(BatchFunction, spec))
    raise TypeError(f"reward is {spec!r}; expected a Reward, a name, an expression or a function")


def parse_reward(text: str, lookup: Lookup) -> Reward:
    """The reward that an expression means.

    Args:
        text: names, numbers, ``+``, ``*`` and calls with rewards and literal keywords.
        lookup: from a name, the rewards and the keywords of its call to the reward.

    Raises:
        ValueError: it is no such expression.
    """

    def build(node: ast.expr) -> float | Reward:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -float(number)
            case ast.Name(id=name):
                return lookup(name, [], {})
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=keywords):
                rewards = [build(argument) for argument in arguments]
                if not all(isinstance(reward, Reward) for reward in rewards):
                    raise ValueError(
                        f"{ast.unparse(node)!r} has a number by position; rewards stand there, and "
                        "options by name, as in 'sigmoid(qed, low=0.2, high=0.8)'"
                    )
                return lookup(name, rewards, dict(map(_option, keywords)))
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                a, b = build(left), build(right)
                if isinstance(a, Reward) and isinstance(b, Reward):
                    return a + b
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                return build(left) * build(right)
        raise ValueError(f"{ast.unparse(node)!r} is no reward")

    try:
        reward = build(parse_expression(text))
        if not isinstance(reward, Reward):
            raise ValueError(f"{text!r} is a number")
    except (UnknownRewardError, UnknownTargetError):
        raise
    except (ValueError, RecursionError, OverflowError) as error:
        raise ValueError(
            f"cannot read the reward {text!r} ({error}); expected a name such as 'qed', "
            "'module:attribute', or an expression such as '0.5 * conv_discriminator + "
            "0.5 * sigmoid(qed, low=0.2, high=0.8)'"
        ) from error
    return reward


def _option(keyword: ast.keyword) -> tuple[str, object]:
    """The name and the value of an option.

    Raises:
        ValueError: it is no literal.
    """
    try:
        return str(keyword.arg), literal(keyword.value)
    except ValueError as error:
        raise ValueError(
            f"the option {ast.unparse(keyword)!r}: {error}; rewards stand before the options, "
            "without a name, as in 'ramp(qed, start=0, end=1)'"
        ) from error


def named_reward(name: str, rewards: Sequence[object], options: dict[str, object]) -> Reward:
    """The reward of a name, made with rewards by position and options by keyword.

    Raises:
        UnknownRewardError: no such name.
        ValueError: it takes other rewards or options.
    """
    targets = reward_targets()
    target = name if ":" in name else targets.get(name)
    if target is None:
        near = difflib.get_close_matches(name, targets, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(targets)}"
        raise UnknownRewardError(
            f"unknown reward {name!r}; {hint} (one of your own is written 'module:attribute')"
        )
    found = load_target(target)
    try:
        if inspect.isclass(found) and issubclass(found, Reward):
            return found(*rewards, **options)
        if options and not rewards and isinstance(found, FunctionObjective):
            return found.with_options(**cast(ObjectiveOptions, options))
        if options and not rewards and inspect.isfunction(found):
            return FunctionObjective(found, **cast(ObjectiveOptions, options))
    except TypeError as error:
        raise ValueError(f"reward {name!r}: {error}") from error
    if rewards or options:
        raise ValueError(
            f"reward {name!r} is no class and takes {'no rewards' if rewards else 'nothing'} in "
            "brackets"
        )
    return make_reward(found)  # type: ignore[arg-type]
