"""What a SMILES written so far comes to: its atoms, bonds, branches and rings, left to right.

A bracket atom is one token, as in the vocabulary's "smiles" tokenisation. What may come next is
``SMILESSyntax``'s to say; here every token is an allowed one.
"""

# Shapes: B sequences, T steps, A actions, L ring labels, D open branches, O bond symbols (0: none)
from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import IncrementalConstraint, State
from .smiles_tokens import ATOM, BOND, CLOSE, DIGIT, DOT, OPEN, tokens_of

# What stands before the next token: nothing (the start, or a dot), an atom with its ring digits,
# the end of a branch, the start of one, a bond symbol after an atom, a bond symbol elsewhere.
NOTHING, AFTER_ATOM, AFTER_BRANCH, IN_BRANCH, BOND_AFTER_ATOM, BOND_ELSEWHERE = range(6)


class SMILESState(NamedTuple):
    """The state of B rows. An atom's number is the place of its token."""

    before_B: Tensor  # what stands before the next token
    atom_B: Tensor  # which atom the next one is bonded to
    bond_B: Tensor  # the bond symbol that waits, 0 for none
    depth_B: Tensor  # how many branches are open
    length_B: Tensor  # how many tokens were written
    left_BT: Tensor  # how many more bonds an atom can have; those of open rings are taken
    aromatic_BT: Tensor
    stack_BD: Tensor  # the atoms that the open branches start from
    opener_BL: Tensor  # the atom at which a ring was opened, -1 where the label is free
    symbol_BL: Tensor  # the bond symbol it was opened with
    blocked_BL: Tensor  # whether it cannot be closed at the current atom


class SMILESReader(IncrementalConstraint):
    """Carries a ``SMILESState`` along; its subclass says what is allowed there."""

    def prepare(self) -> None:
        """Tables of the vocabulary's tokens."""
        if self.vocabulary.tokenization != "smiles":
            raise ValueError(
                f"{self} reads the tokenization 'smiles' and the vocabulary's is "
                f"{self.vocabulary.tokenization!r}; make it with Vocabulary.from_corpus(texts, "
                "'smiles')"
            )
        A, found, device = self.vocabulary.num_actions, tokens_of(self.vocabulary), self.device
        if not (found.kind_A == ATOM).any():
            raise ValueError(f"{self} cannot be met: no token of {self.vocabulary} is an atom")
        self._kind_A = torch.from_numpy(found.kind_A).to(device)
        self._bonds_A = torch.from_numpy(found.bonds_A).to(device)
        self._aromatic_A = torch.from_numpy(found.aromatic_A).to(device)
        self._bond_A = torch.from_numpy(found.bond_A).to(device)
        self._label_A = torch.from_numpy(found.label_A).to(device)
        self._cost_O2 = torch.from_numpy(found.cost_O2).to(device)
        self._labels = max(found.labels, 1)
        atoms_A = self._kind_A[:A] == ATOM
        # How many bonds an atom has left, by the symbol before it; the last row: without a bond.
        cost_PA = F.pad(self._cost_O2[:, self._aromatic_A[:A].long()], (0, 0, 0, 1))
        self._left_PA = (self._bonds_A[:A] - cost_PA).masked_fill(~atoms_A, -1)
        self._depth_D = torch.arange(self.max_length // 2 + 1, device=device)

    def start(self, batch: int) -> State:
        """Nothing written."""
        B, T, L = batch, self.max_length, self._labels
        zeros_B = torch.zeros(B, dtype=torch.int64, device=self.device)
        zeros_BL = zeros_B[:, None].repeat(1, L)
        return SMILESState(
            before_B=zeros_B,
            atom_B=zeros_B,
            bond_B=zeros_B,
            depth_B=zeros_B,
            length_B=zeros_B,
            left_BT=zeros_B[:, None].repeat(1, T),
            aromatic_BT=zeros_B[:, None].repeat(1, T).bool(),
            stack_BD=zeros_B[:, None].repeat(1, len(self._depth_D)),
            opener_BL=zeros_BL - 1,
            symbol_BL=zeros_BL,
            blocked_BL=zeros_BL.bool(),
        )

    def advance(self, state: State, tokens_B: Tensor) -> State:
        """Read one token in each row."""
        old = SMILESState(*state)
        kind_B = self._kind_A[tokens_B]
        atom_B, digit_B, bond_B = kind_B == ATOM, kind_B == DIGIT, kind_B == BOND
        open_B, close_B = kind_B == OPEN, kind_B == CLOSE
        at_B1 = old.atom_B[:, None]
        new_B1 = old.length_B.clamp(max=self.max_length - 1)[:, None]
        label_B1 = self._label_A[tokens_B][:, None]
        opener_B1 = old.opener_BL.gather(1, label_B1)
        closing_B = digit_B & (opener_B1[:, 0] >= 0)
        symbol_B1 = old.symbol_BL.gather(1, label_B1)

        left_BT = self._spend(old, tokens_B, kind_B, closing_B, opener_B1, symbol_B1)
        row_B = torch.where(old.before_B == NOTHING, len(self._cost_O2), old.bond_B)
        tokens_A = tokens_B.clamp(max=self._left_PA.shape[1] - 1)
        left_B1 = torch.where(
            atom_B, self._left_PA[row_B, tokens_A], left_BT.gather(1, new_B1)[:, 0]
        )
        left_BT = left_BT.scatter(1, new_B1, left_B1[:, None])
        aromatic_BT = old.aromatic_BT.scatter(1, new_B1, self._aromatic_A[tokens_B][:, None])

        top_B1 = old.depth_B.clamp(max=len(self._depth_D) - 1)[:, None]
        kept_B1 = torch.where(open_B[:, None], at_B1, old.stack_BD.gather(1, top_B1))
        root_B = old.stack_BD.gather(1, (old.depth_B - 1).clamp(min=0)[:, None])[:, 0]
        now_B = torch.where(closing_B, -1, old.atom_B)
        now_B1 = torch.where(digit_B, now_B, opener_B1[:, 0])[:, None]
        kept_symbol_B1 = torch.where(digit_B, old.bond_B, symbol_B1[:, 0])[:, None]
        blocked_BL = old.blocked_BL | (closing_B[:, None] & (old.opener_BL == opener_B1))
        opening_B = digit_B & ~closing_B
        blocked_B1 = blocked_BL.gather(1, label_B1) | opening_B[:, None]
        blocked_BL = blocked_BL.scatter(1, label_B1, blocked_B1)
        return SMILESState(
            before_B=self._before(old.before_B, kind_B),
            atom_B=torch.where(atom_B, new_B1[:, 0], torch.where(close_B, root_B, old.atom_B)),
            bond_B=torch.where(
                bond_B, self._bond_A[tokens_B], old.bond_B.masked_fill(atom_B | digit_B, 0)
            ),
            depth_B=(old.depth_B + open_B.long() - close_B.long()).clamp(min=0),
            length_B=old.length_B + (tokens_B != self.vocabulary.pad),
            left_BT=left_BT,
            aromatic_BT=aromatic_BT,
            stack_BD=old.stack_BD.scatter(1, top_B1, kept_B1),
            opener_BL=old.opener_BL.scatter(1, label_B1, now_B1),
            symbol_BL=old.symbol_BL.scatter(1, label_B1, kept_symbol_B1),
            blocked_BL=torch.where(atom_B[:, None], old.opener_BL == at_B1, blocked_BL),
        )

    def _spend(
        self,
        old: SMILESState,
        tokens_B: Tensor,
        kind_B: Tensor,
        closing_B: Tensor,
        opener_B1: Tensor,
        symbol_B1: Tensor,
    ) -> Tensor:
        """Take the bonds of the current atom, and of the one at which a ring was opened.

        A branch and a bond symbol take theirs when they are written, before there is an atom.
        """
        at_B1 = old.atom_B[:, None]
        aromatic_B = old.aromatic_BT.gather(1, at_B1)[:, 0].long()
        waiting_B = old.bond_B > 0
        plain_B = (old.before_B == AFTER_ATOM) | (old.before_B == AFTER_BRANCH)
        symbol_B = torch.where(closing_B, symbol_B1[:, 0], 0)
        spent_B = ((kind_B == ATOM) & plain_B).long() + (kind_B == OPEN)
        spent_B = spent_B + torch.where(
            (kind_B == DIGIT) & ~waiting_B, self._cost_O2[symbol_B, aromatic_B], 0
        )
        reserved_B = (old.before_B == IN_BRANCH).long()
        written_B = self._cost_O2[self._bond_A[tokens_B], aromatic_B] - reserved_B
        spent_B = spent_B + torch.where(kind_B == BOND, written_B, 0)
        left_BT = old.left_BT.scatter_add(1, at_B1, -spent_B[:, None])
        opener_B1 = opener_B1.clamp(min=0)
        other_B = old.aromatic_BT.gather(1, opener_B1)[:, 0].long()
        late_B = closing_B & waiting_B & (symbol_B1[:, 0] == 0)  # the symbol stands at the end only
        more_B = torch.where(late_B, self._cost_O2[old.bond_B, other_B] - 1, 0)
        return left_BT.scatter_add(1, opener_B1, -more_B[:, None])

    def _before(self, before_B: Tensor, kind_B: Tensor) -> Tensor:
        after_bond_B = torch.where(before_B == AFTER_ATOM, BOND_AFTER_ATOM, BOND_ELSEWHERE)
        for kind, after in (
            (ATOM, AFTER_ATOM),
            (DIGIT, AFTER_ATOM),
            (OPEN, IN_BRANCH),
            (CLOSE, AFTER_BRANCH),
        ):
            before_B = before_B.masked_fill(kind_B == kind, after)
        before_B = torch.where(kind_B == BOND, after_bond_B, before_B)
        return before_B.masked_fill(kind_B == DOT, NOTHING)
