"""Constraints as masks: what each allows, that it can be finished, and what prompts may say."""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

import itertools
import random

import pytest
import torch
from rdkit import Chem, rdBase
from tokengym.agents import GRUPolicy, sample
from tokengym.envs import (
    SELFIES,
    AllowedTokens,
    BalancedBrackets,
    Constraint,
    EmptyMaskError,
    ForbiddenTokens,
    MinimumLength,
    NoRepetition,
    SMILESSyntax,
    Template,
    Vocabulary,
    make_task,
)

torch.set_num_threads(1)

LETTERS = Vocabulary.from_tokens(["a", "b", "c"], "characters")
BRACKETS = Vocabulary.from_tokens(["(", ")", "[", "]", "x"], "characters")
ATOMS = ["C", "N", "O", "F", "c", "n", "(", ")", "=", "#", "1", "2", "3", "[N+]", "[O-]", ".", "Cl"]
SMILES = Vocabulary.from_tokens(ATOMS, "smiles")


def allowed(constraint: Constraint, vocabulary: Vocabulary, text: str, T: int = 12) -> set[str]:
    """The tokens that may follow a text, which may itself be written."""
    bound = constraint.bound(vocabulary, T)
    tokens_BT = vocabulary.encode([text], end=False).tokens_BT
    bound.check_prompt(text, tokens_BT[0])
    mask_A = bound.allowed(bound.after(tokens_BT))[0]
    return {vocabulary.tokens[token] for token in mask_A.nonzero()[:, 0].tolist()}


def language(constraint: Constraint, vocabulary: Vocabulary, T: int) -> set[str]:
    """Every text that can be written, by following every action that is allowed."""
    bound = constraint.bound(vocabulary, T)
    found: set[str] = set()
    open_rows: list[list[int]] = [[]]
    while open_rows:
        rows, open_rows = open_rows, []
        masks = bound.actions(bound.after(torch.tensor(rows).reshape(len(rows), -1).long()))
        for row, mask_A in zip(rows, masks, strict=True):
            for token in mask_A.nonzero()[:, 0].tolist():
                if token == vocabulary.eos or len(row) + 1 == T:
                    written = row if token == vocabulary.eos else [*row, token]
                    found.add("".join(vocabulary.tokens[t] for t in written))
                else:
                    open_rows.append([*row, token])
    return found


def texts_up_to(vocabulary: Vocabulary, T: int) -> list[str]:
    tokens = [token for token in vocabulary.tokens if token != "<eos>"]
    return ["".join(p) for n in range(T + 1) for p in itertools.product(tokens, repeat=n)]


def test_minimum_length() -> None:
    expected = {text for text in texts_up_to(LETTERS, 3) if len(text) >= 2}
    assert language(MinimumLength(2, on_empty="raise"), LETTERS, 3) == expected
    with pytest.raises(ValueError, match=r"MinimumLength\(tokens=4\) cannot be met.*max_length, 3"):
        MinimumLength(4).bound(LETTERS, 3)


def test_allowed_and_forbidden_tokens() -> None:
    assert allowed(AllowedTokens(["a", "c"]), LETTERS, "") == {"a", "c", "<eos>"}
    assert allowed(ForbiddenTokens(["a", "<eos>"]), LETTERS, "b") == {"b", "c"}
    with pytest.raises(ValueError, match="names the token 'd', which is not in the vocabulary"):
        AllowedTokens(["d"]).bound(LETTERS, 3)
    with pytest.raises(ValueError, match="forbids every token"):
        ForbiddenTokens(["a", "b", "c", "<eos>"]).bound(LETTERS, 3)


def test_template() -> None:
    ab = {"a", "b", "c"}
    assert language(Template(["ab", 1, "c"]), LETTERS, 5) == {f"ab{x}c" for x in ab}
    assert language(Template(["a"], open_end=True), LETTERS, 2) == {"a", "aa", "ab", "ac"}
    assert language(Template([2, "c"]), LETTERS, 3) == {f"{x}{y}c" for x in ab for y in ab}
    with pytest.raises(ValueError, match="has 4 tokens and max_length is 3"):
        Template(["ab", 2]).bound(LETTERS, 3)
    endless = Vocabulary.from_tokens(["a", "b"], "characters", eos=False)
    with pytest.raises(ValueError, match="without an end token every sequence has 3"):
        Template(["ab"]).bound(endless, 3)


@pytest.mark.parametrize("n", [1, 2])
def test_no_repeat(n: int) -> None:
    expected = {
        text
        for text in texts_up_to(LETTERS, 5)
        if not any(text[i : i + n] == text[i + n : i + 2 * n] for i in range(len(text) - 2 * n + 1))
    }
    assert language(NoRepetition(n, on_empty="raise"), LETTERS, 5) == expected


def balanced(text: str) -> bool:
    while (shorter := text.replace("x", "").replace("()", "").replace("[]", "")) != text:
        text = shorter
    return not text


@pytest.mark.parametrize("T", [1, 4, 5])
def test_balanced_brackets(T: int) -> None:
    both = BalancedBrackets([("(", ")"), ("[", "]")], on_empty="raise")
    assert language(both, BRACKETS, T) == set(filter(balanced, texts_up_to(BRACKETS, T)))


def test_brackets_alone_need_an_even_length() -> None:
    only = Vocabulary.from_tokens(["(", ")"], "characters", eos=False)
    assert language(BalancedBrackets(), only, 4) == {"()()", "(())"}
    with pytest.raises(ValueError, match="make max_length even"):
        BalancedBrackets().bound(only, 5)


def test_smiles_syntax_by_hand() -> None:
    syntax = SMILESSyntax()
    atoms = {"C", "N", "O", "F", "c", "n", "[N+]", "[O-]", "Cl"}
    assert allowed(syntax, SMILES, "") == atoms  # no bond, branch, digit or end before an atom
    assert allowed(syntax, SMILES, "C(") == atoms | {"=", "#"}  # no empty branch
    assert "1" not in allowed(syntax, SMILES, "C1")  # a ring bond to itself
    assert "1" not in allowed(syntax, SMILES, "C1C")  # to a neighbour
    assert "1" in allowed(syntax, SMILES, "C1CC")
    assert not {"2", "<eos>"} & allowed(syntax, SMILES, "C12CC1")  # the same bond; an open ring
    assert allowed(syntax, SMILES, "CF") == {".", "<eos>"}  # fluorine has one bond
    assert allowed(syntax, SMILES, "C(F") == {")"}
    assert not {"=", "#"} & allowed(syntax, SMILES, "CO")
    assert "=" in allowed(syntax, SMILES, "CN")
    assert "#" not in allowed(syntax, SMILES, "CN")
    assert "F" not in allowed(syntax, SMILES, "C=")
    assert "O" in allowed(syntax, SMILES, "C=")
    assert "=" not in allowed(syntax, SMILES, "[O-]")
    assert "=" in allowed(syntax, SMILES, "C[N+]")
    assert allowed(syntax, SMILES, "CC(C)(C)(F)", T=20) == {".", "<eos>"}  # carbon has four
    # An aromatic carbon has three neighbours.
    assert not {"C", "(", "2"} & allowed(syntax, SMILES, "c1cc1(C)", T=40)


def test_smiles_syntax_leaves_room_to_finish() -> None:
    syntax = SMILESSyntax()
    assert "(" in allowed(syntax, SMILES, "C", T=4)  # C(C)
    assert "(" not in allowed(syntax, SMILES, "C", T=3)
    assert "1" in allowed(syntax, SMILES, "C", T=5)  # C1CC1
    assert "1" not in allowed(syntax, SMILES, "C", T=4)
    assert "=" not in allowed(syntax, SMILES, "C", T=2)
    assert allowed(syntax, SMILES, "C1CC", T=5) == {"1"}


def parses(smiles: str) -> bool:
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(smiles, sanitize=False) is not None


def test_smiles_syntax_by_enumeration() -> None:
    vocabulary = Vocabulary.from_tokens(["C", "F", "(", ")", "=", "1"], "smiles")
    for T in (2, 4, 6):
        found = language(SMILESSyntax(on_empty="raise"), vocabulary, T)
        assert all(map(parses, found))
        if T < 6:
            continue
        # What RDKit accepts, valences included, is allowed, but for what the top of the file says:
        # digits stand before branches, the ring symbol "=1" at both ends, no closing room to spare.
        with rdBase.BlockLogs():
            real = {t for t in texts_up_to(vocabulary, T) if t and Chem.MolFromSmiles(t)}
        assert found - real == set()
        assert all(")1" in text or "(1" in text or "=1" in text for text in real - found)


def test_smiles_syntax_can_always_finish_whatever_the_vocabulary() -> None:
    pool = [*ATOMS, "S", "P", "B", "o", "s", "-", "/", "\\", ":", "$", "%10", "[C@H]", "[nH]", "*"]
    draw = random.Random(0)
    written = 0
    for trial in range(60):
        tokens = draw.sample(pool, draw.randint(3, len(pool)))
        if not {"C", "N", "c", "O", "F"} & set(tokens):
            continue
        vocabulary = Vocabulary.from_tokens(tokens, "smiles")
        bound = SMILESSyntax(on_empty="raise").bound(vocabulary, draw.randint(1, 24))
        generator = torch.Generator().manual_seed(trial)
        weights_A = torch.rand(vocabulary.num_actions, generator=generator) + 0.05
        state, ended_B, columns = bound.start(100), torch.zeros(100, dtype=torch.bool), []
        for _ in range(bound.max_length):
            mask_BA = bound.actions(state, ended_B)  # raises where nothing is left
            drawn_B = torch.multinomial(weights_A * mask_BA, 1, generator=generator)[:, 0]
            columns.append(drawn_B.masked_fill(ended_B, vocabulary.pad))
            state = bound.advance(state, columns[-1])
            ended_B = ended_B | (drawn_B == vocabulary.eos)
        texts = vocabulary.decode(torch.stack(columns, dim=1))
        assert [text for text in texts if not parses(text)] == []
        written += len(texts)
    assert written > 3000


@pytest.mark.parametrize(
    ("data", "refused"), [("wehi", 0), pytest.param("nci", 2, marks=pytest.mark.slow)]
)
def test_real_molecules_obey_the_syntax(data: str, refused: int) -> None:
    # The two: a chlorine with seven bonds, and a ferrocene.
    task = make_task("tokengym/Molecules-v0", data=data)
    sequences = task.data
    assert sequences is not None
    bound = SMILESSyntax(on_empty="fallback").bound(task.vocabulary, task.max_length)
    tokens_BT = sequences.tokens_BT[torch.arange(0, len(sequences), 1 if refused else 3)]
    state = bound.start(len(tokens_BT))
    fine_B = torch.ones(len(tokens_BT), dtype=torch.bool)
    for tokens_B in tokens_BT.unbind(dim=1):
        ended_B = tokens_B == task.vocabulary.pad
        index_B1 = tokens_B.clamp(max=task.vocabulary.num_actions - 1)[:, None]
        fine_B &= ended_B | bound.allowed(state).gather(1, index_B1)[:, 0]
        here = ~ended_B
        if not here.any():
            break
        state = bound.advance(state, tokens_B)
    assert int((~fine_B).sum()) == refused


@pytest.mark.slow
def test_an_untrained_policy_writes_smiles() -> None:
    # At least 99.9 % of 10,000, for the syntax; all of them, as it is.
    vocabulary = make_task("tokengym/Molecules-v0").vocabulary
    torch.manual_seed(0)
    policy = GRUPolicy(vocabulary).eval()
    syntax = SMILESSyntax(on_empty="raise")
    written = sample(policy, 10_000, max_length=66, seed=0, constraint=syntax)
    assert sum(map(parses, written.texts)) >= 9_990


def test_selfies_is_valid_by_construction() -> None:
    vocabulary = Vocabulary.from_tokens(["[C]", "[=O]", "[Ring1]"], "selfies")
    assert allowed(SELFIES(), vocabulary, "[C]") == set(vocabulary.tokens)
    with pytest.raises(ValueError, match="use SMILESSyntax for SMILES"):
        SELFIES().bound(SMILES, 5)
    with pytest.raises(ValueError, match="reads the tokenization 'smiles'"):
        SMILESSyntax().bound(vocabulary, 5)


class Alternate(Constraint):
    """One of a user's own: never the token just written; asked with the tokens alone."""

    def mask(self, tokens_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        last_B1 = tokens_BT.gather(1, (lengths_B - 1).clamp(min=0)[:, None])
        last_B1 = last_B1.masked_fill(lengths_B[:, None] == 0, -1)
        return torch.arange(self.vocabulary.num_actions) != last_B1


def test_a_constraint_of_ones_own_needs_a_mask_alone() -> None:
    assert language(Alternate(), LETTERS, 4) == language(NoRepetition(1), LETTERS, 4)


def test_a_wrong_mask_is_named() -> None:
    class Wrong(Constraint):
        def mask(self, tokens_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(tokens_BT), 2)

    bound = Wrong().bound(LETTERS, 3)
    with pytest.raises(TypeError, match=r"shape \(1, 2\) and dtype torch.float32; expected \(1, 4"):
        bound.allowed(bound.start(1))


def test_both_of_two_constraints_hold() -> None:
    both = MinimumLength(2) & NoRepetition(1) & ForbiddenTokens(["c"])
    assert language(both, LETTERS, 4) == {"ab", "ba", "aba", "bab", "abab", "baba"}
    assert (
        repr(both) == "MinimumLength(tokens=2) & NoRepetition(n=1) & ForbiddenTokens(tokens=['c'])"
    )


@pytest.mark.parametrize(
    ("constraint", "vocabulary"),
    [
        (SMILESSyntax(), SMILES),
        (NoRepetition(2) & MinimumLength(3), LETTERS),
        (BalancedBrackets(), BRACKETS),
        (Alternate() & Template(["a", 2], open_end=True), LETTERS),
    ],
)
def test_mask_equals_the_incremental_form(constraint: Constraint, vocabulary: Vocabulary) -> None:
    bound = constraint.bound(vocabulary, 9)
    generator = torch.Generator().manual_seed(0)
    state = bound.start(40)
    tokens_BT = torch.full((40, 9), vocabulary.pad)
    for step in range(9):
        lengths_B = torch.full((len(tokens_BT),), step)
        mask_BA = bound.allowed(state)
        assert torch.equal(mask_BA, bound.mask(tokens_BT, lengths_B))
        mask_BA[:, -1] = False  # go on where that is allowed, drop the rows that must end
        rows = torch.randperm(len(mask_BA), generator=generator)
        rows = rows[mask_BA[rows].any(dim=1)]
        if not len(rows):
            break
        drawn_B = torch.multinomial(mask_BA[rows].float(), 1, generator=generator)[:, 0]
        tokens_BT = tokens_BT[rows]
        tokens_BT[:, step] = drawn_B
        state = bound.advance(tuple(tensor[rows] for tensor in state), drawn_B)
    assert step >= 5


# --- a mask that leaves nothing -------------------------------------------------------------------


class Nothing(Constraint):
    """Allows nothing once two tokens are written."""

    def mask(self, tokens_BT: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        return (lengths_B < 2)[:, None].expand(-1, self.vocabulary.num_actions)


def test_an_empty_mask_raises_where_it_should() -> None:
    bound = Nothing(on_empty="raise").bound(LETTERS, 4)
    state = bound.after(torch.tensor([[0, LETTERS.pad], [0, 1]]))
    with pytest.raises(EmptyMaskError, match=r"Nothing\(\) leaves no action in row 1 of 2"):
        bound.actions(state)
    assert (Nothing(on_empty="raise") & MinimumLength(1)).on_empty == "raise"


@pytest.mark.parametrize("eos", [True, False])
def test_an_empty_mask_falls_back_and_is_counted(eos: bool) -> None:
    vocabulary = Vocabulary.from_tokens(["a", "b"], "characters", eos=eos)
    constraint = Nothing()
    bound = constraint.bound(vocabulary, 4)
    state = bound.after(torch.tensor([[0, vocabulary.pad], [0, 1], [1, 1]]))
    with pytest.warns(UserWarning, match=r"Nothing\(\) left no action in row 1.*counted"):
        mask_BA = bound.actions(state)
    assert mask_BA[0].all()
    assert mask_BA[1:].tolist() == [[False, False, True] if eos else [True, True]] * 2
    assert constraint.fallbacks == bound.fallbacks == 2  # counted once for all copies
    bound.actions(state)  # warns once
    assert constraint.fallbacks == 4
    free_B = torch.tensor([False, True, True])  # rows that have ended do not count
    assert bound.actions(state, free_B)[1:].all()
    assert constraint.fallbacks == 4


def test_options_that_do_not_exist_are_named() -> None:
    with pytest.raises(ValueError, match="on_empty is 'stop'; expected one of fallback, raise"):
        MinimumLength(1, on_empty="stop").bound(LETTERS, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="belongs to no task yet"):
        MinimumLength(1).start(1)


# --- prompts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("constraint", "prompt", "token", "position"),
    [
        (SMILESSyntax(), "CF(C", "(", 3),
        (SMILESSyntax() & ForbiddenTokens(["N"]), "CN", "N", 2),
        (Template(["CC", 2]), "CO", "O", 2),
    ],
)
def test_a_prompt_that_contradicts_the_constraint(
    constraint: Constraint, prompt: str, token: str, position: int
) -> None:
    bound = constraint.bound(SMILES, 8)
    with pytest.raises(ValueError, match=f"forbids token '.*' at position {position};") as caught:
        bound.check_prompt(prompt, SMILES.encode([prompt], end=False).tokens_BT[0])
    assert repr(prompt) in str(caught.value)
    assert str(constraint) in str(caught.value)
    assert repr(token) in str(caught.value)


def test_brackets_that_were_broken_stay_within_bounds() -> None:
    """An empty mask falls back to any token, so a forbidden one may have to be read."""
    vocabulary = Vocabulary.from_tokens(["(", ")", "x"], "characters", eos=False)
    bound = BalancedBrackets().bound(vocabulary, 7)
    opened = torch.zeros((1, 7), dtype=torch.int64)
    assert not bound.allowed(bound.after(opened)).any()
    assert bound.mask(opened, torch.tensor([6])).shape == (1, 3)


@pytest.mark.parametrize("eos", [True, False])
def test_following_stops_where_the_rule_was_broken(eos: bool) -> None:
    vocabulary = Vocabulary.from_tokens(["(", ")", "x"], "characters", eos=eos)
    bound = BalancedBrackets().bound(vocabulary, 6)
    rows = vocabulary.encode(["(x", ")(", "((x"], end=False).tokens_BT
    state, free_B = bound.follow(rows)
    assert free_B.tolist() == [False, True, False]
    kept = bound.after(vocabulary.encode(["(x", "", "((x"], end=False).tokens_BT)
    for found, expected in zip(state, kept, strict=True):
        assert torch.equal(found, expected)
