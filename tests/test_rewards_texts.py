"""Objectives over texts: by hand, their errors, and what a library is given."""

from __future__ import annotations

import ast
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokengym import make_reward
from tokengym.agents import Policy
from tokengym.envs import Sequences, Task, Vocabulary
from tokengym.rewards import Objective
from tokengym.rewards.expressions import parse_expression
from tokengym.rewards.perplexity import Perplexity
from tokengym.rewards.texts import Length

from .conftest import log_probs


def test_length_in_characters_and_words() -> None:
    texts = ["", "The harbour's quiet.", "a"]
    assert Length().score_texts(texts) == [0.0, 20.0, 1.0]
    assert Length("words").score_texts(texts) == [0.0, 3.0, 1.0]
    assert make_reward("length(unit='words')").range == (0.0, math.inf)
    with pytest.raises(ValueError, match="unit is 'lines'; expected 'characters' or 'words'"):
        make_reward("length(unit='lines')")


# --- BLEU ---------------------------------------------------------------------------------------


def bleu(references: list[str], **options: Any) -> Objective:
    pytest.importorskip("sacrebleu")
    from tokengym.rewards.bleu import BLEU

    return BLEU(references, **options)


def test_bleu_by_hand() -> None:
    found = bleu(["a b c d e"], order=2, tokens="none").score_texts(
        ["a b c d e", "a b c x y", "a b c", "x y", "", "e d c b a"]
    )
    assert found == [
        1.0,
        pytest.approx(math.sqrt(3 / 5 * 2 / 4)),  # a b c of five words, ab bc of four pairs
        pytest.approx(math.exp(1 - 5 / 3)),  # all of it right, and two words short
        0.0,
        0.0,
        pytest.approx(math.sqrt(1 * 1 / 2 / 4)),  # no pair: half of one is counted
    ]


def test_bleu_takes_all_references_together() -> None:
    both = bleu(["the sea is blue", "a boat sails out"], order=1)
    assert both.score_texts(["the boat is out"]) == [1.0]
    # an n-gram counts as often as the reference that has it most
    assert both.score_texts(["the the the the"]) == [pytest.approx(0.25)]
    assert bleu(["ab"], tokens="char", order=1).score_texts(["ba"]) == [1.0]


def test_bleu_reads_a_file_and_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "references.txt"
    path.write_text("the sea\n\na boat\n", encoding="utf-8")
    assert bleu(str(path), order=1).score_texts(["a boat"]) == [1.0]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is empty; expected at least one text"):
        bleu([" "])
    with pytest.raises(ValueError, match="tokens is 'zh'; expected one of 13a, char, none"):
        bleu(["a"], tokens="zh")
    with pytest.raises(ValueError, match="order is 0"):
        bleu(["a"], order=0)


# --- regular expressions --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quoted", "text"),
    [
        (r"'it\'s a:b'", "it's a:b"),
        (r'"say \"a:b\" b#2"', 'say "a:b" b#2'),
        (r"'a:b\\'", "a:b\\"),
        ("'''it's a:b'''", "it's a:b"),
        ('"""say "a:b" """', 'say "a:b" '),
        (r"r'\d a:b'", r"\d a:b"),
    ],
)
def test_what_is_quoted_stays_as_it_is(quoted: str, text: str) -> None:
    tree = parse_expression(f"f('', {quoted}, a:b)")
    assert isinstance(tree, ast.Call)
    empty, found, name = tree.args
    assert ast.literal_eval(empty) == ""
    assert ast.literal_eval(found) == text
    assert isinstance(name, ast.Name)
    assert name.id == "a:b"


def test_pattern_is_found_or_forbidden() -> None:
    pytest.importorskip("re2")
    texts = ["The sea.", "sea", "SEA", ""]
    assert _scores(r"pattern(pattern='sea')", texts) == [1.0, 1.0, 0.0, 0.0]
    assert _scores(r"pattern(pattern='^sea$')", texts) == [0.0, 1.0, 0.0, 0.0]
    assert _scores(r"pattern(pattern='(?i)^sea', forbidden=True)", texts) == [1.0, 0.0, 0.0, 1.0]
    with pytest.raises(ValueError, match=r"is no regular expression of RE2: .*\(\?="):
        make_reward("pattern(pattern='(?=a)')")


def test_no_pattern_takes_exponential_time() -> None:
    pytest.importorskip("re2")
    # Python's own engine would need 2 ** 2000 steps for these.
    assert _scores("pattern(pattern='^(a*)*$')", ["a" * 2000 + "b"]) == [0.0]
    assert _scores("pattern(pattern='^(a|aa)+$')", ["a" * 2000 + "b"]) == [0.0]


def _scores(expression: str, texts: list[str]) -> list[float | None]:
    made = make_reward(expression)
    assert isinstance(made, Objective)
    return made.score_texts(texts)


# --- perplexity -----------------------------------------------------------------------------------


def test_perplexity_is_that_of_the_policy(policy: Policy, all_sequences: Sequences) -> None:
    values_B = Perplexity(policy.float())(all_sequences).values_B
    nats_B = -log_probs(policy, all_sequences) / all_sequences.lengths_B
    assert torch.allclose(values_B, nats_B.exp().float(), rtol=1e-5)
    # uniform over three actions: three
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
    assert torch.allclose(Perplexity(policy)(all_sequences).values_B, torch.tensor(3.0))


def test_perplexity_does_not_follow_the_policy(policy: Policy, all_sequences: Sequences) -> None:
    reward = Perplexity(policy)
    before = reward(all_sequences).values_B
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(1.0)
    assert torch.equal(reward(all_sequences).values_B, before)
    assert all(not p.requires_grad for p in reward.policy.parameters())
    assert all(p.requires_grad for p in policy.parameters())


def test_perplexity_of_the_impossible_is_finite(policy: Policy, all_sequences: Sequences) -> None:
    class Sure(type(policy)):  # type: ignore[misc]
        def forward(self, tokens_BT: torch.Tensor, condition: object = None) -> torch.Tensor:
            logits = torch.tensor([0.0, -torch.inf, -torch.inf])
            return logits.expand(*tokens_BT.shape, 3)

    policy.__class__ = Sure
    scores = Perplexity(policy)(all_sequences)
    assert scores.ok_B.all()
    assert scores.values_B.isfinite().all()
    assert scores.values_B.min() == 1.0  # aaaa


def test_perplexity_wants_the_policys_vocabulary(policy: Policy) -> None:
    other = Vocabulary.from_tokens(["x", "y"], "characters")
    with pytest.raises(ValueError, match=r"make the task with vocabulary=policy.vocabulary"):
        Task(name="Other", vocabulary=other, max_length=3, reward=Perplexity(policy))
    with pytest.raises(ValueError, match=r"make the task with vocabulary=policy.vocabulary"):
        Perplexity(policy)(other.encode(["xy"]))


# --- a Hugging Face model -------------------------------------------------------------------------


WORDS = ["[PAD]", "[UNK]", "the", "sea", "is", "blue"]
TEXTS = ["the sea", "the sea is blue", "blue blue sea is the is", "x"]


def save_model(folder: Path, labels: int, **config: Any) -> Any:
    """A tiny classifier with random weights, and its tokenizer."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]"
    )
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=len(WORDS),
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            max_position_embeddings=5,
            num_labels=labels,
            initializer_range=1.0,
            **config,
        )
    ).eval()
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return model


def logits_of(model: Any, text: str) -> torch.Tensor:
    """What the model says of one text alone, of which five words fit."""
    ids = [WORDS.index(w) if w in WORDS else 1 for w in text.split()][:5]
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.tensor([ids])).logits[0]
    return logits


@pytest.mark.slow
def test_a_classifier_gives_the_probability_of_its_label(tmp_path: Path) -> None:
    model = save_model(tmp_path, 2, id2label={0: "sad", 1: "glad"}, label2id={"sad": 0, "glad": 1})
    from tokengym.rewards.classifier import Classifier

    expected = [float(logits_of(model, text).softmax(0)[1]) for text in TEXTS]
    for label in ("glad", 1):
        found = Classifier(tmp_path, label=label)
        assert found.score_texts(TEXTS) == pytest.approx(expected, abs=1e-6)
        assert found.range == (0.0, 1.0)
    sad = Classifier(str(tmp_path), label="sad").score_texts(TEXTS * 20)  # more than one pass
    assert sad == pytest.approx([1 - value for value in expected] * 20, abs=1e-6)
    for wrong in (None, "happy", 2, -1):
        with pytest.raises(ValueError, match=r"expected one of 'sad' \(0\), 'glad' \(1\)"):
            Classifier(tmp_path, label=wrong)


@pytest.mark.slow
def test_several_labels_at_once_and_a_reward_model(tmp_path: Path) -> None:
    model = save_model(tmp_path / "many", 2, problem_type="multi_label_classification")
    from tokengym.rewards.classifier import Classifier

    expected = [float(logits_of(model, text).sigmoid()[0]) for text in TEXTS]
    found = Classifier(tmp_path / "many", label=0).score_texts(TEXTS)
    assert found == pytest.approx(expected, abs=1e-6)
    model = save_model(tmp_path / "one", 1)
    reward = Classifier(tmp_path / "one")
    expected = [float(logits_of(model, text)[0]) for text in TEXTS]
    assert reward.score_texts(TEXTS) == pytest.approx(expected, abs=1e-5)
    assert reward.range == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="the model has a single logit"):
        Classifier(tmp_path / "one", label="good")


@pytest.mark.slow
def test_only_a_local_folder_with_safetensors_will_do(tmp_path: Path) -> None:
    model = save_model(tmp_path, 2)
    from tokengym.rewards.classifier import Classifier

    for name in ("bert-base-uncased", str(tmp_path / "none")):
        with pytest.raises(ValueError, match=r"is no folder of a model: it has no config.json"):
            Classifier(name, label=0)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="has no model that can be used"):
        Classifier(tmp_path, label=0)


@pytest.mark.slow
def test_code_in_a_folder_is_not_run(tmp_path: Path) -> None:
    save_model(tmp_path, 2)
    from tokengym.rewards.classifier import Classifier

    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", encoding="utf-8")
    config = tmp_path / "config.json"
    text = config.read_text(encoding="utf-8")
    own = '{ "auto_map": {"AutoModelForSequenceClassification": "evil.Evil"},'
    config.write_text(re.sub(r"^\{", own, text), encoding="utf-8")
    Classifier(tmp_path, label=0).score_texts(["the sea"])  # the library's own class is used
    config.write_text(re.sub('"bert"', '"evil"', config.read_text("utf-8")), encoding="utf-8")
    with pytest.raises(ValueError, match=r"trust_remote_code|model type"):
        Classifier(tmp_path, label=0)
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("bleu", "sacrebleu", "texts"),
        ("pattern", "re2", "texts"),
        ("classifier", "transformers", "transformers"),
        ("sets.fcd", "fcd_torch", "fcd"),
    ],
)
def test_a_missing_library_names_its_extra(module: str, library: str, extra: str) -> None:
    code = f"import sys; sys.modules[{library!r}] = None; import tokengym.rewards.{module}"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": ROOT}
    )
    assert f"pip install 'tokengym[{extra}]'" in run.stderr
    assert run.returncode == 1


ROOT = str(Path(__file__).parents[1] / ".namespace")


def test_known_words_by_name(tmp_path: Path) -> None:
    (tmp_path / "known.txt").write_text("the sea\n\na boat\n")
    name = f"known_words(reference={str(tmp_path / 'known.txt')!r})"
    assert make_reward(name)(["the boat", "the bat"]).values_B.tolist() == [1.0, 0.5]  # type: ignore[arg-type]
    name = name.replace("known_words(", "known_pairs(")
    assert make_reward(name)(["the sea", "the boat"]).values_B.tolist()[0] == 1.0  # type: ignore[arg-type]
