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
from torch import Tensor

from .base import State
from .smiles_reading import (
    AFTER_ATOM,
    AFTER_BRANCH,
    BOND_AFTER_ATOM,
    IN_BRANCH,
    NOTHING,
    SMILESReader,
    SMILESState,
)
from .smiles_tokens import BOND, CLOSE, DIGIT, DOT, END, MANY, OPEN

_NEVER = 1 << 20  # tokens


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
class SMILESSyntax(SMILESReader):
    """What is written is SMILES that can be read, and finished within T."""

    def prepare(self) -> None:
        """Tables of the vocabulary's tokens."""
        super().prepare()
        A, device = self.vocabulary.num_actions, self.device
        self._best_O = self._left_PA[:-1].amax(dim=1)  # of the atom with the most
        self._most = int(self._bonds_A[:A].amax())
        self._bonds_F = torch.arange(MANY + 1, device=device)
        self._columns_A = self._columns(self._kind_A[:A])
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

    def allowed(self, state: State) -> Tensor:
        """Which tokens may come next, bool (B, A)."""
        now = SMILESState(*state)
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
        written_B1 = ((now.before_B == AFTER_ATOM) | (now.before_B == AFTER_BRANCH))[:, None]
        row_B = torch.where(now.before_B == NOTHING, len(self._cost_O2), now.bond_B)
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
        now: SMILESState,
        ahead: _Ahead,
        first_BL: Tensor,
        order_BL: Tensor,
        left_B1: Tensor,
        room_B1: Tensor,
    ) -> Tensor:
        """Which ring labels may be written: one that is open closes its ring, another opens one."""
        at_B1, symbol_B1 = now.atom_B[:, None], now.bond_B[:, None]
        after_atom_B1 = (now.before_B == AFTER_ATOM)[:, None]
        after_bond_B1 = (now.before_B == BOND_AFTER_ATOM)[:, None]
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
        now: SMILESState,
        need_BF: Tensor,
        ahead: _Ahead,
        left_B1: Tensor,
        written_B1: Tensor,
        room_B1: Tensor,
    ) -> Tensor:
        """Which bond symbols may be written: the best atom after it can finish."""
        aromatic_B = now.aromatic_BT.gather(1, now.atom_B[:, None])[:, 0].long()
        opened_B1 = (now.before_B == IN_BRANCH)[:, None]
        cost_BO = self._cost_O2.T[aromatic_B] - opened_B1.long()  # a branch has taken one already
        need_BO = need_BF[:, self._best_O.clamp(min=0)] + 1
        # That atom must go on by itself: the symbol may take the last bond of a branch's atom.
        stuck_BO = (self._best_O == 0) & (ahead.rings > 0)
        possible_BO = (self._best_O >= 0) & ~stuck_BO & (need_BO <= room_B1)
        return (written_B1 | opened_B1) & (cost_BO <= left_B1) & possible_BO

    def _can_close(
        self, now: SMILESState, ahead: _Ahead, roots_BD: Tensor, room_B1: Tensor
    ) -> Tensor:
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
