"""Rollout backends draw the same tokens: the staircase, its CUDA graph, the Triton kernels."""

# Shapes: B sequences, T steps, N completions, R rows, A actions
from __future__ import annotations

import importlib.util
import itertools
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from tokengym.agents import GRUPolicy, LSTMPolicy, Policy, TransformerPolicy, action_values, sample
from tokengym.agents import heads as heads_module
from tokengym.agents import staircase as staircase_module
from tokengym.agents.completing import Rows, complete
from tokengym.agents.completions import Backend, Plan, Scheme, best_backend, tiles
from tokengym.agents.counter_rng import Uniforms, seed_words
from tokengym.agents.draws import completion_draws
from tokengym.agents.policies.recurrent import RecurrentPolicy
from tokengym.agents.sampling import read_prefix
from tokengym.agents.staircase import Recording, Stairs, climb_by_steps, stairs_of
from tokengym.envs import Constraint, Sequences, Vocabulary
from tokengym.envs.constraints import ForbiddenTokens, MinimumLength
from torch.utils._python_dispatch import TorchDispatchMode

from .conftest import PolicyMaker, TokenSum

SCHEMES = get_args(Scheme)
Drawn = dict[tuple[int, int, int], list[int]]

triton_is_here = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)
devices = pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
            ],
        ),
    ],
)


def drawn_by(plan: Plan, backend: Backend) -> Drawn:
    """The tokens of completion n of the first t + 1 tokens of sequence b."""
    rows: Drawn = {}
    for tile in tiles(plan, backend):
        found = zip(tile.b_R.tolist(), tile.n_R.tolist(), tile.tokens_RT.tolist(), strict=True)
        rows.update({(b, tile.t, n): row for b, n, row in found})
    return rows


def recurrent(
    vocabulary: Vocabulary, kind: type[GRUPolicy | LSTMPolicy], layers: int, hidden: int = 20
) -> RecurrentPolicy:
    torch.manual_seed(layers)
    policy = kind(vocabulary, embedding=5, hidden=hidden, layers=layers).eval()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(2)
    return policy


def assert_ties(plan: Plan, found: Drawn, expected: Drawn, width: float = 1e-5) -> None:
    """Two rows may part where a uniform lies on the edge of two tokens, and only there."""
    assert found.keys() == expected.keys()
    exact = [key for key in found if found[key] == expected[key]]
    assert len(exact) >= 0.98 * len(found)
    for b, t, n in found.keys() - set(exact):
        rows = found[b, t, n], expected[b, t, n]
        step = next(i for i, pair in enumerate(zip(*rows, strict=True)) if pair[0] != pair[1])
        tokens_1T = torch.tensor([rows[0]], device=plan.policy.device)
        logits_A = plan.policy(tokens_1T).double()[0, step]
        cdf_A = logits_A.softmax(dim=0).cumsum(dim=0)
        one = torch.ones(1, dtype=torch.int64, device=plan.policy.device)
        uniform = Uniforms(plan.seed, one * b, t + 1, one * n).at(step, torch.float64)
        assert (cdf_A - uniform).abs().min() < width


# --- the staircase ----------------------------------------------------------------------------


@devices
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", [GRUPolicy, LSTMPolicy])
def test_the_staircase_draws_what_the_reference_draws(
    kind: type[GRUPolicy | LSTMPolicy],
    scheme: Scheme,
    device: str,
    vocabulary: Vocabulary,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Identical in float64, in chunks too; on a GPU also when replayed with other inputs."""
    policy = recurrent(vocabulary, kind, layers=2).double().to(device)
    for seed in (3, 4):
        sequences = sample(policy, 5, max_length=6, seed=seed)
        plan = Plan(policy, sequences, completions=3, scheme=scheme, seed=seed + 2**40)
        expected = drawn_by(plan, "reference")
        assert drawn_by(plan, "graph") == expected
        monkeypatch.setattr(staircase_module, "MOST_ROWS", 2 * 5 * 3)
        assert drawn_by(plan, "graph") == expected
        monkeypatch.undo()
        with torch.no_grad():  # an update of the weights that a replay has to see
            policy.output.weight.mul_(-1.5)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", [GRUPolicy, LSTMPolicy])
def test_a_head_draws_what_the_reference_draws(
    kind: type[GRUPolicy | LSTMPolicy], scheme: Scheme, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens of many actions, some ends among them, drawn seven rows at a time in float64."""
    monkeypatch.setattr(heads_module, "_LOGITS", 7 * 521)
    vocabulary = Vocabulary.from_tokens(map(str, range(520)), "words")
    policy = recurrent(vocabulary, kind, layers=1).double()
    with torch.no_grad():
        policy.output.bias[vocabulary.eos] = 4.0
    plan = Plan(policy, sample(policy, 5, max_length=6, seed=1), 3, scheme, seed=2, tile_rows=11)
    assert heads_module.head_of(policy) is not None
    assert drawn_by(plan, "tiled") == drawn_by(plan, "reference")


@devices
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "constraint", [MinimumLength(3), MinimumLength(2) & ForbiddenTokens(["b"])], ids=str
)
def test_the_staircase_under_constraints(
    constraint: Constraint, scheme: Scheme, device: str, vocabulary: Vocabulary
) -> None:
    policy = recurrent(vocabulary, GRUPolicy, layers=1).double().to(device)
    sequences = sample(policy, 5, max_length=6, seed=1, constraint=constraint)
    plan = Plan(policy, sequences, 3, scheme, seed=2, constraint=constraint)
    assert drawn_by(plan, "graph") == drawn_by(plan, "reference")


@devices
@pytest.mark.parametrize(
    ("dtype", "actions", "width"),
    [(torch.float32, 700, 1e-5), (torch.bfloat16, 700, 0.02), (torch.bfloat16, 9, 0.02)],
)
def test_lower_precision_parts_at_ties_only(
    dtype: torch.dtype, actions: int, width: float, device: str
) -> None:
    vocabulary = Vocabulary.from_tokens(map(str, range(actions)), "words", eos=False)
    policy = recurrent(vocabulary, LSTMPolicy, layers=1).to(device, dtype)
    plan = Plan(policy, sample(policy, 6, max_length=6), completions=8, seed=1)
    expected = drawn_by(plan, "reference")
    backends: tuple[Backend, ...] = "tiled", "graph"
    for backend in backends:
        assert_ties(plan, drawn_by(plan, backend), expected, width)


@pytest.mark.parametrize("scheme", ["plain", "systematic", "arithmetic"])
def test_the_order_of_rows_changes_nothing(scheme: Scheme, vocabulary: Vocabulary) -> None:
    policy = recurrent(vocabulary, GRUPolicy, layers=1).double()
    b_R, n_R = torch.arange(12) // 4, torch.arange(12) % 4
    written = []
    for order_R in (torch.arange(12), torch.arange(12).flip(0)):
        tokens_RT = torch.full((12, 8), vocabulary.pad)
        logits_RA, state = read_prefix(policy, tokens_RT[:, :0])
        draws = completion_draws(scheme, 5, b_R[order_R], 0, n_R[order_R], 4)
        complete(policy, tokens_RT, {0: Rows(logits_RA, state, draws)})
        written.append(tokens_RT[order_R.argsort()])
    assert torch.equal(*written)


@pytest.mark.parametrize("kind", [GRUPolicy, LSTMPolicy])
@pytest.mark.parametrize("actions", [3, 600])  # the second with a head
@pytest.mark.parametrize("constraint", [None, ForbiddenTokens(["1"])], ids=str)
@pytest.mark.parametrize("gap", [False, True])
def test_rows_join_when_all_others_have_ended(
    kind: type[GRUPolicy | LSTMPolicy], actions: int, constraint: Constraint | None, gap: bool
) -> None:
    """Completions end at once, most of them, and some prefixes in between want none."""
    vocabulary = Vocabulary.from_tokens(map(str, range(actions)), "words")
    policy = recurrent(vocabulary, kind, layers=2).double()
    assert vocabulary.eos is not None
    with torch.no_grad():
        policy.output.bias[vocabulary.eos] += 8
    sequences = Sequences.from_tokens(torch.zeros(2, 9, dtype=torch.int64), vocabulary)
    plan = Plan(policy, sequences, 2, seed=3, constraint=constraint, compact_every=1)
    if gap:
        plan.wanted_BT[:, 1:4] = 0
        plan.wanted_BT[:, 6] = 0
    expected = drawn_by(plan, "reference")
    ended = [row.index(vocabulary.eos) if vocabulary.eos in row else 9 for row in expected.values()]
    assert sorted(ended)[0] == 1 < sorted(ended)[-1]
    assert drawn_by(plan, "tiled") == expected


def test_rows_drawn_alone_and_together_are_the_same() -> None:
    """What is joined to rows that are under way is what it would be by itself."""
    b_R, n_R = torch.arange(6) // 2, torch.arange(6) % 2
    seed = 2**45 + 7
    for first in range(5, 9):
        early = Uniforms(seed, b_R, 1, n_R)
        early.at(first, torch.float64)
        both = early.join(Uniforms(seed_words(seed, b_R.device), b_R, 2, n_R))
        for step in (first, first + 1, first + 4):
            alone = [Uniforms(seed, b_R, t, n_R).at(step, torch.float64) for t in (1, 2)]
            assert torch.equal(both.at(step, torch.float64), torch.cat(alone))


class Operations(TorchDispatchMode):
    """Collects the names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        self.names.add(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("actions", [9, 600])
def test_the_staircase_asks_the_host_nothing(scheme: Scheme, actions: int) -> None:
    """A CUDA graph can be recorded of it: no shape, branch or copy depends on what is drawn."""
    vocabulary = Vocabulary.from_tokens(map(str, range(actions)), "words")
    policy = recurrent(vocabulary, GRUPolicy, layers=2)
    stairs = stairs_of(Plan(policy, sample(policy, 3, max_length=6), 2, scheme))
    climb_by_steps(policy, stairs)  # what is kept from a first run is not made when recording
    with Operations() as ran:
        climb_by_steps(policy, stairs)
    waiting = "_local_scalar_dense", "nonzero", "masked_select", "unique", "equal", "lift_fresh"
    assert "aten::addmm" in ran.names
    assert not [name for name in ran.names if any(part in name for part in waiting)]


@triton_is_here
@pytest.mark.parametrize("name", ["graph", "triton"])
def test_a_replay_reads_new_weights_and_inputs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a CUDA graph does, in place of which the recorded function is run again."""
    from tokengym.agents.fused import climb_by_kernels

    climb = {"graph": climb_by_steps, "triton": climb_by_kernels}[name]
    ran: list[tuple[Policy, Stairs, torch.Tensor]] = []

    def watched(policy: Policy, stairs: Stairs) -> torch.Tensor:
        ran.append((policy, stairs, climb(policy, stairs)))
        return ran[-1][2]

    class Graph:
        def replay(self) -> None:
            policy, stairs, written = ran[-1]
            written.copy_(climb(policy, stairs))

    class Stream:
        def wait_stream(self, other: Stream) -> None:
            pass

    for attribute, fake in {"CUDAGraph": Graph, "Stream": Stream, "current_stream": Stream}.items():
        monkeypatch.setattr(torch.cuda, attribute, fake)
    for attribute in ("device", "stream", "graph"):
        monkeypatch.setattr(torch.cuda, attribute, nullcontext)
    vocabulary = Vocabulary.from_tokens(map(str, range(9)), "words", eos=False)
    policy = recurrent(vocabulary, LSTMPolicy, layers=2)
    plans = [Plan(policy, sample(policy, 6, max_length=5, seed=s), 4, seed=s) for s in (1, 2)]
    with policy.fixed_weights():  # as when completions are asked for
        recording = Recording(watched, policy, stairs_of(plans[0]))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(-0.9)
    for plan in plans:
        expected = climb_by_steps(policy, stairs_of(plan))
        assert torch.equal(recording(policy, stairs_of(plan)), expected)


# --- the Triton kernels -----------------------------------------------------------------------


@triton_is_here
@devices
@pytest.mark.parametrize("scheme", ["plain", "backward", "reuse"])
@pytest.mark.parametrize(("kind", "layers"), [(GRUPolicy, 1), (GRUPolicy, 2), (LSTMPolicy, 2)])
def test_kernels_draw_what_the_reference_draws(
    kind: type[GRUPolicy | LSTMPolicy],
    layers: int,
    scheme: Scheme,
    device: str,
    vocabulary: Vocabulary,
) -> None:
    policy = recurrent(vocabulary, kind, layers, hidden=35).to(device)  # more than one BLOCK_K
    for seed in (9, 10) if device == "cuda" else (9,):  # the second is a replay
        sequences = sample(policy, 4, max_length=5, seed=seed)
        plan = Plan(policy, sequences, completions=3, scheme=scheme, seed=seed)
        assert_ties(plan, drawn_by(plan, "triton"), drawn_by(plan, "reference"))
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.mul_(-0.9)


@triton_is_here
@devices
def test_kernels_over_several_blocks_of_everything(device: str) -> None:
    """More rows, units and actions than a program has, a seed of two words, no end token."""
    vocabulary = Vocabulary.from_tokens(map(str, range(70)), "words", eos=False)
    policy = recurrent(vocabulary, LSTMPolicy, layers=1, hidden=66).to(device)
    with torch.no_grad():
        policy.output.bias[3] = -torch.inf
        policy.output.bias[65] += 3
    sequences = sample(policy, 9, max_length=4, seed=3)
    plan = Plan(policy, sequences, completions=3, seed=2**50 + 1)
    found = drawn_by(plan, "triton")
    assert_ties(plan, found, drawn_by(plan, "reference"))
    assert not any(3 in row for row in found.values())


@triton_is_here
@devices
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the interpreter is NumPy
def test_kernels_say_where_nothing_can_be_drawn(device: str, vocabulary: Vocabulary) -> None:
    policy = recurrent(vocabulary, GRUPolicy, layers=1).to(device)
    sequences = vocabulary.encode(["abab"], end=False)
    for broken in (torch.nan, torch.inf):
        with torch.no_grad():
            policy.output.bias[1] = broken
        with pytest.raises(ValueError, match="no token can be drawn"):
            drawn_by(Plan(policy, sequences.to(device), completions=2), "triton")


@triton_is_here
@pytest.mark.parametrize(
    ("change", "reason", "remedy"),
    [
        ({"scheme": "systematic"}, "independent uniforms", "'graph'"),
        ({"scheme": "arithmetic"}, "independent uniforms", "'graph'"),
        ({"constraint": MinimumLength(2)}, "no mask", "'graph' or 'tiled'"),
        ({"dtype": torch.float64}, "sums in float32", "'graph'"),
        ({"policy": TransformerPolicy}, "not TransformerPolicy", "'tiled'"),
    ],
)
def test_what_kernels_cannot_do(
    change: dict[str, object], reason: str, remedy: str, vocabulary: Vocabulary
) -> None:
    policy: Policy = recurrent(vocabulary, GRUPolicy, layers=1)
    if "dtype" in change:
        policy = policy.double()
        change = {}
    elif "policy" in change:
        policy = TransformerPolicy(vocabulary, width=8, heads=2).eval()
        change = {}
    plan = replace(Plan(policy, vocabulary.encode(["ab"])), **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=reason) as raised:
        drawn_by(plan, "triton")
    assert f"take backend={remedy}" in str(raised.value)


def test_the_staircase_needs_states_of_fixed_shapes(vocabulary: Vocabulary) -> None:
    policy = TransformerPolicy(vocabulary, width=8, heads=2).eval()
    with pytest.raises(ValueError, match="take backend='tiled'"):
        drawn_by(Plan(policy, vocabulary.encode(["ab"])), "graph")


def test_auto_is_tiled_on_a_cpu(make_policy: PolicyMaker, vocabulary: Vocabulary) -> None:
    policy = make_policy(vocabulary, 0)
    sequences = sample(policy, 64, max_length=9)
    assert best_backend(Plan(policy, sequences)) == "tiled"


# --- numerical edges of the draw --------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("backend", ["graph", "triton"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_on_a_gpu_are_those_of_a_cpu(
    backend: Backend, dtype: torch.dtype, vocabulary: Vocabulary
) -> None:
    """2,000 completions: each cell within 5 standard errors of the reference's on the CPU."""
    policy = recurrent(vocabulary, LSTMPolicy, layers=2, hidden=64)
    sequences = sample(policy, 8, max_length=5, seed=0)
    how = {"completions": 2000, "dtype": dtype}
    expected = action_values(policy, sequences, TokenSum(), seed=1, **how)  # type: ignore[arg-type]
    on_gpu = recurrent(vocabulary, LSTMPolicy, layers=2, hidden=64).cuda()

    def scorer(written: Sequences) -> object:
        return TokenSum()(written.to("cpu"))

    found = action_values(
        on_gpu,
        sequences,
        scorer,  # type: ignore[arg-type]
        seed=2,
        backend=backend,
        **how,  # type: ignore[arg-type]
    )
    error = (expected.variance_BT + found.variance_BT.cpu()).sqrt()
    assert ((found.q_BT.cpu() - expected.q_BT).abs() <= 5 * error + 1e-3).all()


def test_all_prefixes_are_there(vocabulary: Vocabulary) -> None:
    policy = recurrent(vocabulary, GRUPolicy, layers=1)
    sequences = sample(policy, 6, max_length=7, seed=3)
    drawn = drawn_by(Plan(policy, sequences, completions=2), "graph")
    lengths = sequences.lengths_B.tolist()
    prefixes = [(b, t) for b in range(6) for t in range(lengths[b] - 1)]
    assert set(drawn) == {(b, t, n) for (b, t), n in itertools.product(prefixes, range(2))}
