"""Assessors as a component: asking, reading, learning, what a checkpoint keeps, what fails."""

# Shapes: B sequences
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokengym.agents import Reinforce
from tokengym.envs import Sequences, Task, TokenEnv, Vocabulary
from tokengym.rewards import Assessors, RepetitionPenalty, make_reward
from tokengym.rewards.assessors.answered import read_answers
from tokengym.rewards.assessors.inquiry import Patience, StoreInquiry, domain_of
from tokengym.rewards.assessors.ratings import Rating, RatingsError, write_ratings

from .test_rewards_assessors_preference import LETTERS, T, pairs, texts

SMALL: dict[str, Any] = {"members": 3, "hidden": 8}


def batch(seed: int, count: int = 24) -> Sequences:
    return LETTERS.encode(texts(count, seed))


def write(path: Path, ratings: list[Any]) -> None:
    path.write_text(write_ratings(ratings, path.suffix[1:]))


def from_file(path: Path, **options: Any) -> Assessors:
    made = Assessors(str(path), "Which?", **{**SMALL, **options})
    made.prepare(LETTERS, T, "cpu")
    return made


def update(reward: Assessors, seed: int = 0) -> dict[str, float]:
    torch.manual_seed(seed)
    return reward.update(batch(1), batch(2 + seed))


def test_what_is_not_known_pushes_nothing(tmp_path: Path) -> None:
    reward = from_file(tmp_path / "ratings.csv")
    assert update(reward)["unreachable"] == 0
    scores = reward(batch(0))
    assert scores.values_B.unique().tolist() == [0.5]
    assert scores.ok_B.all()
    total = (0.5 * RepetitionPenalty() + 0.5 * reward)(batch(0))
    assert total.ok_B.all()


def test_ratings_in_a_file_that_grows_are_learnt(tmp_path: Path) -> None:
    path = tmp_path / "ratings.jsonl"
    reward = from_file(path)
    update(reward)
    write(path, pairs(9, seed=0))
    assert "ratings" not in update(reward)  # ten are a reason to learn
    write(path, pairs(200, seed=0))
    found = update(reward)
    assert found["ratings"] == 200
    assert found["accuracy"] > 0.6
    good, bad = reward(LETTERS.encode(["aaaaaa", "dddddd"])).values_B
    assert 1 >= good > 0.6 > 0.4 > bad >= 0
    weights = reward.state()[0]
    write(path, pairs(220, seed=0))  # a tenth more
    assert update(reward)["ratings"] == 200
    assert all(torch.equal(weights[name], now) for name, now in reward.state()[0].items())
    spread = reward.take_statistics()["spread"]
    assert 0 < spread < 0.5


def test_ratings_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    ratings = pairs(12, seed=0)
    write(path, [replace(each, left="no such letters") for each in ratings])
    reward = from_file(path)
    with pytest.warns(UserWarning, match="12 of 12 ratings are left out: .* 'no such letters'"):
        assert update(reward)["unreadable"] == 12
    write(path, [*ratings, replace(ratings[0], left="z")])
    reward = from_file(path)
    found = update(reward)
    assert (found["ratings"], found["unreadable"]) == (12, 1)


def test_samples_that_ran_to_the_limit_are_read_as_they_were_written() -> None:
    vocabulary = Vocabulary.from_tokens(list("ab"), "characters")
    ratings = [Rating(1, "ann", "ab" * 3, "b", "left"), Rating(2, "ann", "ab" * 4, "b", "left")]
    given = read_answers(ratings, "pair", vocabulary, 6, [], folds=2)
    assert given is not None
    assert len(given) == 1  # the other has eight letters
    written = vocabulary.encode(["ab" * 3], end=False).tokens_BT[0]
    assert torch.equal(given.tokens_NT[0], written)
    assert vocabulary.eos in given.tokens_NT[1]


def test_caution_is_taken_from_the_mean(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    write(path, pairs(150, seed=0))
    reward = from_file(path, caution=0.0)
    update(reward)
    mean_B = reward(batch(0)).values_B
    spread_B = reward.model.preferred(batch(0).tokens_BT).std(dim=0, correction=0)
    reward.caution = 2.0
    assert torch.allclose(reward(batch(0)).values_B, (mean_B - 2 * spread_B).clamp(0, 1))


def test_a_loaded_model_goes_on_to_the_bit(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    write(path, pairs(30, seed=0))
    reward = from_file(path)
    update(reward)
    tensors, state = reward.state()
    loaded = from_file(path)
    loaded.restore(tensors, json.loads(json.dumps(state)))
    assert torch.equal(loaded(batch(0)).values_B, reward(batch(0)).values_B)
    write(path, pairs(60, seed=0))
    assert update(loaded, seed=5) == update(reward, seed=5)
    for name, tensor in reward.state()[0].items():
        assert torch.equal(tensor, loaded.state()[0][name]), name
    other = from_file(path, hidden=4)
    with pytest.raises(ValueError, match="weight embedding_MVH has the shape"):
        other.restore(tensors, state)


def test_an_agent_learns_with_it_and_its_checkpoint_keeps_it(tmp_path: Path) -> None:
    write(tmp_path / "ratings.csv", pairs(20, seed=0))

    def env() -> TokenEnv:
        reward = from_file(tmp_path / "ratings.csv")
        data = batch(1)
        return TokenEnv(
            Task(name="L", vocabulary=LETTERS, max_length=T, reward=reward, load_data=lambda: data)
        )

    agent = Reinforce("GRU", env(), batch_size=8, discriminator_steps=1, seed=0, device="cpu")
    agent.learn(8 * T)
    agent.save(tmp_path / "agent")
    loaded = Reinforce.load(tmp_path / "agent", env(), device="cpu")
    for each in (agent, loaded):
        each.learn(8 * T, reset_num_timesteps=False)
    for name, tensor in agent.policy.state_dict().items():
        assert torch.equal(tensor, loaded.policy.state_dict()[name]), name


def test_a_file_that_is_wrong_from_the_beginning_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text("assessor;left;right;answer\nann;ab;cd;left\n")
    with pytest.raises(RatingsError, match=r"line 2 .* has no assessor and no left"):
        update(from_file(path))
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*misspelt; make it first"):
        update(from_file(tmp_path / "misspelt" / "ratings.csv"))


def test_a_file_that_is_begun_anew_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    write(path, pairs(40, seed=0))
    reward = from_file(path)
    assert update(reward)["ratings"] == 40
    write(path, pairs(20, seed=1))
    assert update(reward)["ratings"] == 20


def test_a_file_that_breaks_later_does_not_stop_a_run(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    write(path, pairs(20, seed=0))
    reward = from_file(path)
    known = update(reward)
    path.write_text("assessor,left,right,answer\nann,ab,cd,perhaps\n")
    with pytest.warns(UserWarning, match="the ratings cannot be reached .*line 2"):
        found = update(reward)
    assert found == {**known, "unreachable": 1.0}
    assert update(reward)["unreachable"] == 1  # and says so once


def test_patience_waits_longer_and_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [100.0], []
    monkeypatch.setattr("tokengym.rewards.assessors.inquiry.time.monotonic", lambda: now[0])
    patience = Patience()

    def fail() -> None:
        calls.append(now[0])
        raise OSError("gone")

    with pytest.warns(UserWarning, match="gone"):
        patience.tried(fail)
    for now[0] in (100.5, 101.0, 102.5, 103.0, 103.5):
        assert patience.tried(fail) is None
    assert calls == [100.0, 101.0, 103.0]
    now[0] = 200.0
    assert patience.tried(lambda: 7) == 7
    assert not patience.failing


def test_a_first_batch_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ratings.csv"
    reward = from_file(path, min_ratings=12)
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        write(path, pairs(6 * len(slept), seed=0))

    monkeypatch.setattr("tokengym.rewards.assessors.assessors.time.sleep", sleep)
    assert update(reward)["ratings"] == 12
    assert len(slept) == 2
    update(reward)
    assert len(slept) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"question": " "}, "question is ' '; expected what assessors are asked"),
        ({"form": "stars"}, "form is 'stars'; expected 'scale' or 'yes_no' or 'pair'"),
        ({"domain": "pictures"}, "domain is 'pictures'"),
        ({"min_ratings": -1}, "min_ratings is -1"),
        ({"random_share": 2}, "random_share is 2; expected a share"),
        ({"caution": -1}, "caution is -1; expected at least 0"),
        ({"gold": "nowhere.csv"}, "there is no rating in gold='nowhere.csv'"),
        ({"members": 1}, "members is 1; expected a whole number, at least 2"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Assessors("ratings.csv", **{"question": "Which?", **options})


def test_it_stands_in_expressions() -> None:
    reward = make_reward("0.5 * uniqueness + 0.5 * assessors(question='Which?')")
    (assessors,) = (each for each in reward.components() if isinstance(each, Assessors))
    assert reward.credit == "terminal"
    with pytest.raises(ValueError, match="the assessors have no store; outside a run give one"):
        assessors.update(batch(0), batch(1)) if assessors(batch(0)) else None
    reward.adopt_folder(Path("runs/a"))
    assert assessors.store == "sqlite:///runs/a/ratings.sqlite"


def test_a_folder_of_any_name_holds_its_store(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    for name in ("what?", "20%20", "q?mode=memory", "a b#c@d:e"):
        (tmp_path / name).mkdir()
        reward = Assessors(question="Which?", **SMALL)
        reward.adopt_folder(tmp_path / name)
        reward.prepare(LETTERS, T, "cpu")
        assert update(reward)["waiting"] > 0
        assert (tmp_path / name / "ratings.sqlite").exists()
        reward.close()


def test_a_vocabulary_says_what_its_texts_are() -> None:
    assert domain_of(Vocabulary.from_corpus(["CCO"], "smiles")) == "molecules"
    assert domain_of(Vocabulary.from_tokens(["C5:1/8", "r:1/4"], "words")) == "melodies"
    assert domain_of(Vocabulary.from_tokens(["C5:1/8", "and"], "words")) == "text"
    assert domain_of(LETTERS) == "text"


# --- with a store ---------------------------------------------------------------------------------


def stored(folder: Path, **options: Any) -> Assessors:
    pytest.importorskip("sqlalchemy")
    url = f"sqlite:///{folder / 'ratings.sqlite'}"
    made = Assessors(url, "Which?", **{**SMALL, "queue": 10, **options})
    made.prepare(LETTERS, T, "cpu")
    return made


def answer_all(
    reward: Assessors, names: tuple[str, ...] = ("ann",), skipped: int = 0
) -> list[tuple[str, str]]:
    """Let the better one win, for everything that waits but what is skipped; what was shown."""
    from tokengym.rewards.assessors.store import Store

    store = Store(str(reward.store))
    (question,) = store.questions()
    shown: list[tuple[str, str]] = []
    for name in names:
        person = store.assessor_of(store.add_assessor(name))
        assert person is not None
        while (found := store.lease(question.id, person.id)) is not None:
            assert found.right is not None
            answer = "left" if found.left < found.right else "right"
            answer = "skip" if len(shown) < skipped else answer
            store.rate(found.id, person.id, answer, key=f"{name}{found.id}")
            shown.append((found.left, found.right))
    store.close()
    return shown


def test_the_queue_is_filled_and_not_over(tmp_path: Path) -> None:
    reward = stored(tmp_path)
    assert update(reward)["waiting"] == 10
    assert update(reward, seed=1)["waiting"] == 10
    shown = answer_all(reward)
    assert len(shown) == 10
    written = {*batch(2).texts, *batch(3).texts}
    assert all(text in written for pair in shown for text in pair)
    found = update(reward, seed=2)
    assert (found["waiting"], found["ratings"]) == (10, 10)
    reward.close()


def test_questions_that_are_skipped_are_followed_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = stored(tmp_path, queue=4, min_ratings=10, repeat_share=0.0)
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        assert len(slept) < 9, "it waits for what nobody was asked"
        answer_all(reward, skipped=2 if len(slept) == 1 else 0)

    monkeypatch.setattr("tokengym.rewards.assessors.assessors.time.sleep", sleep)
    assert update(reward)["ratings"] == 12  # 8 of 10, then the queue was filled up
    assert len(slept) == 2
    reward.close()


def test_where_all_was_asked_and_some_skipped_the_next_update_asks_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = stored(tmp_path, min_ratings=10, repeat_share=0.0)
    ask = StoreInquiry.ask

    def ask_once(inquiry: StoreInquiry, items: Any) -> int:
        monkeypatch.setattr(StoreInquiry, "ask", lambda inquiry, items: 0)
        return ask(inquiry, items)

    monkeypatch.setattr(StoreInquiry, "ask", ask_once)
    monkeypatch.setattr(
        "tokengym.rewards.assessors.assessors.time.sleep",
        lambda seconds: answer_all(reward, skipped=1),
    )
    assert "ratings" not in update(reward)  # 9 of 10
    monkeypatch.setattr(StoreInquiry, "ask", ask)
    assert update(reward, seed=1)["ratings"] == 18
    reward.close()


def test_what_was_rated_is_asked_again_the_other_way_round(tmp_path: Path) -> None:
    reward = stored(tmp_path, repeat_share=1.0)
    update(reward)
    first = answer_all(reward)
    update(reward, seed=1)  # has read them, and asks about nothing else
    again = answer_all(reward)
    assert {(right, left) for left, right in again} <= set(first)
    found = update(reward, seed=2)
    assert found["consistency"] == 1.0
    reward.close()


def test_gold_questions_are_asked_of_several(tmp_path: Path) -> None:
    write(tmp_path / "gold.csv", pairs(3, seed=1)[:1])
    known = pairs(3, seed=1)[0]
    gold = str(tmp_path / "gold.csv")
    reward = stored(tmp_path, gold=gold, gold_share=1.0, repeat_share=0.0)
    assert update(reward)["waiting"] == 1
    shown = answer_all(reward, ("ann", "ben", "cat", "dan"))
    assert shown == [(known.left, known.right)] * 3
    reward.close()


def test_known_answers_that_nobody_is_left_to_give_keep_no_place_in_the_queue(
    tmp_path: Path,
) -> None:
    write(tmp_path / "known.csv", pairs(60, seed=5))
    gold = {"gold": str(tmp_path / "known.csv"), "gold_share": 1.0}
    reward = stored(tmp_path, queue=6, **gold)
    asked = []
    for seed in range(4):
        update(reward, seed)
        asked.append(len(answer_all(reward, ("ann",))))
    assert min(asked) > 0  # three are to answer each, and there is but one
    reward.close()


def test_an_update_by_hand_needs_no_score_before(tmp_path: Path) -> None:
    reward = Assessors(str(tmp_path / "ratings.csv"), "Which?", **SMALL)
    assert update(reward)["waiting"] == 0
    other = Vocabulary.from_tokens(["x", "y"], "characters").encode(["xy"])
    with pytest.raises(ValueError, match="make others for each task"):
        reward.update(other, other)


def test_things_with_no_canonical_form_are_not_asked_about(tmp_path: Path) -> None:
    reward = stored(tmp_path, queue=40)
    reward.adopt_canonical(lambda text: None if text.startswith("a") else text)
    update(reward)
    shown = answer_all(reward)
    assert shown
    assert not any(text.startswith("a") for pair in shown for text in pair)
    reward.close()


def test_a_withdrawn_rating_is_not_learnt_again(tmp_path: Path) -> None:
    from tokengym.rewards.assessors.store import Store

    reward = stored(tmp_path)
    update(reward)
    answer_all(reward)
    assert update(reward, seed=1)["ratings"] == 10
    store = Store(str(reward.store))
    store.undo(1, 1)
    store.close()
    answer_all(reward, ("ben",))  # ten more; the withdrawn one is in the hands of ann again
    assert update(reward, seed=2)["ratings"] == 19
    reward.close()


def test_a_store_that_cannot_be_opened_ends_a_run_at_its_beginning_alone(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    reward = Assessors(f"sqlite:///{tmp_path}/missing/ratings.sqlite", "Which?", **SMALL)
    reward.prepare(LETTERS, T, "cpu")
    with pytest.raises(OSError, match="cannot be used"):
        update(reward)
    reward.updates = 3  # a run that is gone on with
    with pytest.warns(UserWarning, match="cannot be reached"):
        assert update(reward)["unreachable"] == 1


def test_a_store_that_was_removed_is_begun_anew(tmp_path: Path) -> None:
    reward = stored(tmp_path)
    update(reward)
    answer_all(reward)
    assert update(reward, seed=1)["ratings"] == 10
    for file in tmp_path.glob("ratings.sqlite*"):
        file.unlink()
    with pytest.warns(UserWarning, match="was removed, or replaced by another, while it was in"):
        assert update(reward, seed=2)["unreachable"] == 1
    reward._patience = Patience()  # a second later
    assert update(reward, seed=3)["unreachable"] == 0
    answer_all(reward)
    assert reward.seen == 10
    reward.seen = 11  # it had come further in the one before
    found = update(reward, seed=4)
    assert (found["ratings"], found["waiting"]) == (10, 10)
    reward.close()


def test_a_run_does_not_wait_long_for_others_to_finish_writing(tmp_path: Path) -> None:
    reward = stored(tmp_path)
    inquiry = reward.open()
    assert isinstance(inquiry, StoreInquiry)
    with inquiry.store._database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 5000  # not 30 s
    reward.close()


def test_the_name_of_a_store_has_no_password() -> None:
    pytest.importorskip("psycopg")
    database = pytest.importorskip("tokengym.rewards.assessors.database")
    name = database.Database("postgresql+psycopg://ann:secret@localhost/ratings").name
    assert name == "postgresql+psycopg://ann:***@localhost/ratings"
