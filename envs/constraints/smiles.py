"""The syntax of SMILES, left to right, so that whatever is begun can be finished.

What is forbidden, after OpenSMILES (opensmiles.org): a bond, a branch or a ring digit without an
atom before it; an empty branch; a ring bond from an atom to itself or to one that it is bonded to
already, or with two different bond symbols; an end with a branch or a ring open; more bonds than an
atom can have. A bracket atom is one token, as in the vocabulary's "smiles" tokenisation.

Looking ahead: an action is allowed if what is then open can be closed in the tokens that are left.
The plan behind it: close rings at the atom written last, then at further atoms of the best kind,
one ring each; leave branches whose atom can take no more; close the branches. ``_need`` counts its
tokens. The plan is sound, not the shortest: where nearly no room is left, a little is forbidden
that could have been finished. Ring digits stand before an atom's branches, as writers put them.

Left out, because it cannot be decided left to right or is no syntax: whether aromatic atoms lie in
rings and can be given double bonds, and anything about stereochemistry.
"""

# Shapes: B sequences, T steps, A actions, L ring labels, D open branches, O bond symbols (0: none),
# F numbers of bonds that an atom has left: 0 .. MANY
from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import IncrementalConstraint, State
from .smiles_tokens import ATOM, BOND, CLOSE, DIGIT, DOT, END, MANY, OPEN, tokens_of

# What stands before the next token: nothing (the start, or a dot), an atom with its ring digits,
# the end of a branch, the start of one, a bond symbol after an atom, a bond symbol elsewhere.
_NOTHING, _ATOM, _CLOSED, _OPENED, _BOND, _ONLY_ATOM = range(6)
_NEVER = 1 << 20  # tokens


class _State(NamedTuple):
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


class _Ahead(NamedTuple):
    """What is open, counted; all (B, 1)."""

    rings: Tensor  # open rings
    bonds: Tensor  # how many bonds they take
    rooted: Tensor  # whether an open branch's atom can have another bond
    depth: Tensor


class _Closable(NamedTuple):
    """Rings that can be closed at an atom, one for each atom they were opened at; all (B, 1)."""

    single: Tensor
    double: Tensor


@dataclass(eq=False)
class SMILESSyntax(IncrementalConstraint):
    """What is written is SMILES, and finished within T; see the top of this file."""

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
        self._best_O = self._left_PA[:-1].amax(dim=1)  # of the atom with the most
        self._most = int(self._bonds_A[:A].amax())
        self._bonds_F = torch.arange(MANY + 1, device=device)
        self._columns_A = self._columns(self._kind_A[:A])
        self._depth_D = torch.arange(self.max_length // 2 + 1, device=device)
        earlier_LL = torch.ones((self._labels, self._labels), dtype=torch.bool, device=device)
        self._earlier_LL = earlier_LL.tril(-1)

    def _columns(self, kind_A: Tensor) -> Tensor:
        """Where ``allowed`` finds the answer for each token that is no atom."""
        L, symbols = self._labels, len(self._cost_O2)
        after = L + symbols
        first = {OPEN: after, CLOSE: after + 1, DOT: after + 2, END: after + 3}
        if not (bool((kind_A == OPEN).any()) and bool((kind_A == CLOSE).any())):
            first[OPEN] = after + 4
        columns_A = torch.full_like(kind_A, after + 4)  # never
        for kind, column in first.items():
            columns_A[kind_A == kind] = column
        A = len(kind_A)
        columns_A = torch.where(kind_A == DIGIT, self._label_A[:A], columns_A)
        return torch.where(kind_A == BOND, L + self._bond_A[:A], columns_A)

    # --- what was written ---------------------------------------------------------------------

    def start(self, batch: int) -> State:
        """Nothing written."""
        B, T, L = batch, self.max_length, self._labels
        zeros_B = torch.zeros(B, dtype=torch.int64, device=self.device)
        zeros_BL = zeros_B[:, None].repeat(1, L)
        return _State(
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
        old = _State(*state)
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
        row_B = torch.where(old.before_B == _NOTHING, len(self._cost_O2), old.bond_B)
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
        return _State(
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
        old: _State,
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
        plain_B = (old.before_B == _ATOM) | (old.before_B == _CLOSED)
        symbol_B = torch.where(closing_B, symbol_B1[:, 0], 0)
        spent_B = ((kind_B == ATOM) & plain_B).long() + (kind_B == OPEN)
        spent_B = spent_B + torch.where(
            (kind_B == DIGIT) & ~waiting_B, self._cost_O2[symbol_B, aromatic_B], 0
        )
        reserved_B = (old.before_B == _OPENED).long()
        written_B = self._cost_O2[self._bond_A[tokens_B], aromatic_B] - reserved_B
        spent_B = spent_B + torch.where(kind_B == BOND, written_B, 0)
        left_BT = old.left_BT.scatter_add(1, at_B1, -spent_B[:, None])
        opener_B1 = opener_B1.clamp(min=0)
        other_B = old.aromatic_BT.gather(1, opener_B1)[:, 0].long()
        late_B = closing_B & waiting_B & (symbol_B1[:, 0] == 0)  # the symbol stands at the end only
        more_B = torch.where(late_B, self._cost_O2[old.bond_B, other_B] - 1, 0)
        return left_BT.scatter_add(1, opener_B1, -more_B[:, None])

    def _before(self, before_B: Tensor, kind_B: Tensor) -> Tensor:
        after_bond_B = torch.where(before_B == _ATOM, _BOND, _ONLY_ATOM)
        for kind, after in ((ATOM, _ATOM), (DIGIT, _ATOM), (OPEN, _OPENED), (CLOSE, _CLOSED)):
            before_B = before_B.masked_fill(kind_B == kind, after)
        before_B = torch.where(kind_B == BOND, after_bond_B, before_B)
        return before_B.masked_fill(kind_B == DOT, _NOTHING)

    # --- what may come next -------------------------------------------------------------------

    def allowed(self, state: State) -> Tensor:
        """Which tokens may come next, bool (B, A)."""
        now = _State(*state)
        room_B1 = (self.max_length - 1 - now.length_B)[:, None]  # after the next token
        at_B1, depth_B1 = now.atom_B[:, None], now.depth_B[:, None]
        left_B1 = now.left_BT.gather(1, at_B1)
        open_BL = now.opener_BL >= 0
        order_BL = self._cost_O2[now.symbol_BL, 0].clamp(max=2)
        roots_BD = (now.left_BT.gather(1, now.stack_BD) > 0) & (self._depth_D < depth_B1)
        ahead = _Ahead(
            rings=open_BL.sum(dim=1, keepdim=True),
            bonds=(order_BL * open_BL).sum(dim=1, keepdim=True),
            rooted=roots_BD.any(dim=1, keepdim=True),
            depth=depth_B1,
        )
        same_BLL = now.opener_BL[:, :, None] == now.opener_BL[:, None, :]
        first_BL = open_BL & ~(same_BLL & self._earlier_LL).any(dim=2)

        other_BL = first_BL & (now.opener_BL != at_B1)
        need_BF = self._need(ahead, _closable(other_BL, order_BL), self._bonds_F)
        written_B1 = ((now.before_B == _ATOM) | (now.before_B == _CLOSED))[:, None]
        row_B = torch.where(now.before_B == _NOTHING, len(self._cost_O2), now.bond_B)
        left_BA = self._left_PA[row_B]
        fits_BF = need_BF <= room_B1
        atoms_BA = fits_BF.gather(1, left_BA.clamp(min=0)) & (left_BA >= 0)
        atoms_BA = atoms_BA & (~written_B1 | (left_B1 > 0))

        digits_BL = self._digits(now, ahead, first_BL, order_BL, left_B1, room_B1)
        bonds_BO = self._bonds(now, need_BF, ahead, left_B1, written_B1, room_B1)
        deeper_B1 = need_BF[:, self._most - 1 : self._most] + 2 if self._most else need_BF[:, :1]
        can_open_B1 = written_B1 & (left_B1 > 0) & (deeper_B1 <= room_B1)
        can_close_B1 = written_B1 & self._can_close(now, ahead, roots_BD, room_B1)
        whole_B1 = written_B1 & (depth_B1 == 0) & (ahead.rings == 0)
        dot_B1 = whole_B1 & (room_B1 > 0)
        never_B1 = torch.zeros_like(whole_B1)
        others = [digits_BL, bonds_BO, can_open_B1, can_close_B1, dot_B1, whole_B1, never_B1]
        return atoms_BA | torch.cat(others, dim=1)[:, self._columns_A]

    def _need(self, ahead: _Ahead, closable: _Closable, left_BF: Tensor) -> Tensor:
        """How many tokens finish what is open after an atom that has so many bonds left, (B, F).

        ``closable`` are the rings that it can close; no ring was opened at it.
        """
        here_BF = _closed_here(closable, left_BF)
        all_here_BF = closable.single + closable.double == ahead.rings
        all_here_BF = all_here_BF & (ahead.bonds <= left_BF)
        need_BF = 2 * ahead.rings - here_BF
        back_B1 = torch.where(ahead.rooted, 2 * ahead.rings + 1, _NEVER)
        need_BF = torch.where(left_BF > 0, need_BF, back_B1)
        return torch.where(all_here_BF, ahead.rings, need_BF) + ahead.depth

    def _digits(
        self,
        now: _State,
        ahead: _Ahead,
        first_BL: Tensor,
        order_BL: Tensor,
        left_B1: Tensor,
        room_B1: Tensor,
    ) -> Tensor:
        """Which ring labels may be written: one that is open closes its ring, another opens one."""
        at_B1, symbol_B1 = now.atom_B[:, None], now.bond_B[:, None]
        after_atom_B1 = (now.before_B == _ATOM)[:, None]
        after_bond_B1 = (now.before_B == _BOND)[:, None]
        found = _closable(first_BL & ~now.blocked_BL, order_BL)
        opened_here_B1 = (now.opener_BL == at_B1).sum(dim=1, keepdim=True)

        # To open: a bond of this atom is taken, and the ring cannot be closed here.
        after_B1 = left_B1 - after_atom_B1.long()
        here_B1 = _closed_here(found, after_B1)
        spacer_B1 = ahead.rings - here_B1 == opened_here_B1
        need_B1 = 2 * (ahead.rings + 1) - here_B1 + spacer_B1
        back_B1 = torch.where(ahead.rooted, 2 * (ahead.rings + 1) + 1, _NEVER)
        need_B1 = torch.where(after_B1 > 0, need_B1, back_B1) + ahead.depth
        # The best atom closes it between two bonds of its own.
        closes_B1 = self._cost_O2[symbol_B1, 0] <= min(self._most - 2, 2)
        can_open_B1 = (after_B1 >= 0) & (need_B1 <= room_B1) & closes_B1

        # To close: the symbols at both ends agree, and both atoms have the bonds.
        aromatic_B1 = now.aromatic_BT.gather(1, at_B1).long()
        cost_BL = self._cost_O2[now.symbol_BL, aromatic_B1]
        after_BL = left_B1 - torch.where(after_atom_B1, cost_BL, 0)
        opener_BL = now.opener_BL.clamp(min=0)
        other_BL = now.aromatic_BT.gather(1, opener_BL).long()
        more_BL = self._cost_O2[symbol_B1, other_BL] - 1
        late_BL = (now.symbol_BL == 0) & (symbol_B1 > 0)
        agree_BL = torch.where(
            late_BL,
            now.left_BT.gather(1, opener_BL) >= more_BL,
            after_atom_B1 | (now.symbol_BL == symbol_B1),
        )
        rings_B1 = ahead.rings - 1
        last_BL = (found.single + found.double == ahead.rings) & (
            ahead.bonds - order_BL <= after_BL
        )
        here_BL = torch.minimum((found.single - 1).clamp(min=0), (after_BL - 1).clamp(min=0))
        spacer_BL = (rings_B1 - here_BL == opened_here_B1) & (opened_here_B1 > 0)
        need_BL = 2 * rings_B1 - here_BL + spacer_BL
        # A symbol at the end only may take the last bond that a branch's atom has.
        back_BL = torch.where(ahead.rooted & ~late_BL, 2 * rings_B1 + 1, _NEVER)
        need_BL = torch.where(after_BL > 0, need_BL, back_BL)
        need_BL = torch.where(last_BL, rings_B1, need_BL) + ahead.depth
        can_close_BL = (after_BL >= 0) & agree_BL & ~now.blocked_BL & (need_BL <= room_B1)

        possible_BL = torch.where(now.opener_BL >= 0, can_close_BL, can_open_B1)
        return possible_BL & (after_atom_B1 | after_bond_B1)

    def _bonds(
        self,
        now: _State,
        need_BF: Tensor,
        ahead: _Ahead,
        left_B1: Tensor,
        written_B1: Tensor,
        room_B1: Tensor,
    ) -> Tensor:
        """Which bond symbols may be written: the best atom after it can finish."""
        aromatic_B = now.aromatic_BT.gather(1, now.atom_B[:, None])[:, 0].long()
        opened_B1 = (now.before_B == _OPENED)[:, None]
        cost_BO = self._cost_O2.T[aromatic_B] - opened_B1.long()  # a branch has taken one already
        need_BO = need_BF[:, self._best_O.clamp(min=0)] + 1
        # That atom must go on by itself: the symbol may take the last bond of a branch's atom.
        stuck_BO = (self._best_O == 0) & (ahead.rings > 0)
        possible_BO = (self._best_O >= 0) & ~stuck_BO & (need_BO <= room_B1)
        return (written_B1 | opened_B1) & (cost_BO <= left_B1) & possible_BO

    def _can_close(self, now: _State, ahead: _Ahead, roots_BD: Tensor, room_B1: Tensor) -> Tensor:
        """Whether the branch may end: there is one, and its atom or one below can finish."""
        top_B1 = (ahead.depth - 1).clamp(min=0)
        root_B1 = now.stack_BD.gather(1, top_B1)
        goes_on_B1 = now.left_BT.gather(1, root_B1) > 0
        lower_B1 = (roots_BD & (self._depth_D < top_B1)).any(dim=1, keepdim=True)
        opened_there_B1 = (now.opener_BL == root_B1).sum(dim=1, keepdim=True)
        spacer_B1 = opened_there_B1 == ahead.rings
        back_B1 = torch.where(lower_B1, 2 * ahead.rings + 1, _NEVER)
        need_B1 = torch.where(goes_on_B1, 2 * ahead.rings + spacer_B1, back_B1)
        need_B1 = torch.where(ahead.rings == 0, 0, need_B1) + ahead.depth - 1
        return (ahead.depth > 0) & (need_B1 <= room_B1)


def _closable(which_BL: Tensor, order_BL: Tensor) -> _Closable:
    single_B1 = (which_BL & (order_BL == 1)).sum(dim=1, keepdim=True)
    return _Closable(single_B1, which_BL.sum(dim=1, keepdim=True) - single_B1)


def _closed_here(closable: _Closable, left_BF: Tensor) -> Tensor:
    """How many rings the plan closes at an atom with so many bonds left, keeping one to go on."""
    spare_BF = (left_BF - 1).clamp(min=0)
    here_BF = torch.minimum(closable.single, spare_BF)
    return here_BF + ((here_BF == 0) & (closable.double > 0) & (spare_BF >= 2))
