"""The page on discriminators: its expressions are read, and no option is missing."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
import yaml
from tokengym.rewards import make_reward
from tokengym.rewards.discriminators import ConvDiscriminator, Discriminator
from tokengym.rewards.discriminators.forms import Form, bounds
from tokengym.rewards.discriminators.losses import Loss

PAGE = (Path(__file__).parents[1] / "docs" / "discriminators.md").read_text(encoding="utf-8")


def test_expressions_are_read() -> None:
    written = re.findall(r"`((?:mean|sigmoid)\(.*?\))`", PAGE)
    assert len(written) == 2
    for expression in written:
        assert make_reward(expression).credit == "rollouts"
    pytest.importorskip("rdkit")
    for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL):
        terms = make_reward(yaml.safe_load(block)["reward"]).terms()
        assert isinstance(terms[0][1], ConvDiscriminator)


def test_everything_that_can_be_chosen_is_there() -> None:
    rows = re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE)
    assert set(get_args(Loss)) | set(get_args(Form)) <= set(rows)
    shown = set(re.findall(r"`(\w+)=", PAGE))
    assert {field.name for field in fields(Discriminator)} <= shown


def test_options_and_bounds_are_as_it_says() -> None:
    for option in ("l2=0.2", "dropout=0.25", "learning_rate=1e-4", "gradient_penalty=10"):
        name, _, value = option.partition("=")
        assert f"`{option}`" in PAGE
        assert getattr(ConvDiscriminator(), name) == float(value)
    assert f"within {bounds('log_ratio', 'least_squares')[1]:.2f} of 0" in PAGE
