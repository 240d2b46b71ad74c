"""Simulations with learners, attacks and rules in Python."""

from __future__ import annotations

import logging
import re
import signal
import threading
import traceback

import numpy as np
import pytest
from mean import Mean
from test_merged import Line

from colearn_client import ColearnError, MlpLearner, arrays, run_local, simulate, sweep
from colearn_client.errors import ModelError, PlanError
from colearn_client.simulation import Seen, Sent, Share

IRIS = {"task": "iris", "learners": 5, "rounds": 3, "model": {"hidden": [4]}, "seed": 3}
ATTACKED = {**IRIS, "faults": [{"learners": [2, 4], "attack": "own"}]}
MERGED = {"plan": {"merging": {}}}


def mlp(share: Share) -> MlpLearner:
    return MlpLearner(
        share.train, share.vote, share.test, initial=share.initial, epochs=1, seed=share.seed
    )


def test_learners_in_a_list_do_what_a_local_run_has_them_do() -> None:
    def means() -> list[Mean]:
        return [Mean([1.0, 2.0]), Mean([4.0]), Mean([2.0, 3.0])]

    plan, learners = {"threshold": "2/3"}, means()
    report = simulate({"rounds": 5, "plan": plan}, learners=learners)
    local = run_local(means(), plan, rounds=5)
    assert report.history is not None and report.rounds == 5
    for item, expected in zip(report.history.rounds, local.rounds, strict=True):
        assert (item.proposer, item.weights) == (expected.proposer, expected.weights)
        assert (item.verdict, item.votes) == (expected.verdict, expected.votes)
    # Nothing is kept for testing, so it is what they vote on.
    scores = [it.test(it.current()).vote for it in learners]
    assert report.metric == "score" and report.final_score == pytest.approx(np.mean(scores))
    away = {"rounds": 5, "plan": plan, "faults": [{"learners": [3], "away": [1, 5]}]}
    told = simulate(away, learners=means()).history
    assert told is not None and max(len(item.votes) for item in told.rounds) == 1
    assert max(len(item.votes) for item in report.history.rounds) == 2


def test_learners_are_made_of_shares_also_beside_built_in_ones() -> None:
    seen: list[Share] = []

    def some(share: Share) -> MlpLearner | None:
        seen.append(share)
        return mlp(share) if share.number < 4 else None

    scenario = {
        **IRIS,
        **MERGED,
        "churn": {"leaves": 0.1},
        "faults": [
            {"learners": [3], "attack": "label_flip"},
            {"learners": [5], "attack": "sign_flip", "vote": "colludes"},
        ],
    }
    first = simulate(scenario, learners=some)
    assert [share.number for share in seen] == [1, 2, 3, 4, 5]
    assert len({share.seed for share in seen}) == 5
    for share in seen:
        for inputs, targets in (share.train, share.vote, share.test):
            assert inputs.dtype == np.float32 and inputs.shape == (len(targets), 4)
            assert targets.dtype == np.int64 and set(targets) <= {0, 1, 2}
        assert len(share.classes) == 3
    assert first.rounds == 3 and 0.2 < first.final_score <= 1
    assert simulate(scenario, learners=some).root == first.root
    # The third's are poisoned: only those that decide nothing are as they were.
    poisoned = seen[2]
    seen.clear()
    simulate({**IRIS, "rounds": 1}, learners=some)
    honest = seen[2]
    assert (poisoned.train[0] == honest.train[0]).all()
    assert (poisoned.train[1] == 2 - honest.train[1]).all()
    assert (poisoned.test[1] == honest.test[1]).all()


def test_all_learners_in_python_are_averaged_and_vote() -> None:
    for more in ({"rule": "average"}, {"rule": "krum"}, MERGED, {}):
        report = simulate({**IRIS, "rounds": 12, **more}, learners=mlp)
        assert report.final_score > 0.6, more
        assert (report.root is None) == ("rule" in more) == (report.history is None)


def test_what_a_learner_raises_is_told_with_its_number_and_round(caplog) -> None:
    class Broken(Mean):
        def propose(self):
            raise ZeroDivisionError("by nothing")

    with caplog.at_level(logging.WARNING, "colearn_client"):
        report = simulate({"rounds": 2}, learners=[Mean([1.0]), Broken([2.0])])
    told = caplog.text
    assert re.search(r"learner 2, round [12]: training failed: ZeroDivisionError: by nothing", told)
    assert 'raise ZeroDivisionError("by nothing")' in told, "and the traceback"
    assert report.rounds == 2

    class Stubborn(Mean):
        def accept(self, weights):
            raise RuntimeError("never")

    with pytest.raises(RuntimeError, match="never"):
        simulate({"rounds": 2}, learners=[Mean([1.0]), Stubborn([2.0])])

    def makes(share: Share) -> None:
        raise LookupError(f"nothing for {share.number}")

    with pytest.raises(LookupError, match="nothing for 1"):
        simulate(IRIS, learners=makes)


@pytest.mark.parametrize("more", [MERGED, {"rule": "average"}, {"merge": "own"}, {}])
def test_an_attack_decides_what_is_sent(more) -> None:
    thread, told = threading.get_ident(), []

    def attack(seen: Seen):
        assert threading.get_ident() == thread
        told.append((seen.round, seen.learner, seen.rng.integers(1 << 30)))
        assert (seen.members, seen.member) == (2, seen.learner // 2 - 1)
        assert seen.trained.shape == seen.base.shape and (seen.trained != seen.base).any()
        assert seen.honest.shape[1:] == seen.base.shape
        assert len(seen.honest) == 3 or more == {}
        with pytest.raises(ValueError, match="read-only"):
            seen.base[0] = 1
        sent = seen.trained.astype(float)
        # By name, and in place.
        last = seen.named(sent)["layers.1.bias"]
        assert last.shape == (3,)
        last[:] = np.inf if seen.learner == 4 else 7
        return sent

    own = {"merge": lambda sent: sent.updates.mean(axis=0)} if "merge" in more else {}
    scenario = {**ATTACKED, **({} if own else more)}
    first = simulate(scenario, attack=attack, **own)
    once = sorted(told)
    told.clear()
    again = simulate(scenario, attack=attack, **own)
    assert sorted(told) == once and again.scores == pytest.approx(first.scores, nan_ok=True)
    assert again.root == first.root
    if more:
        assert [it[:2] for it in once] == [(number, who) for number in (1, 2, 3) for who in (2, 4)]
    assert len({drawn for *_, drawn in once}) == len(once)


def test_an_attack_goes_against_learners_of_ones_own() -> None:
    lines = [Line(it) for it in (1.0, 2.0, 3.0)]
    scenario = {"rounds": 2, "faults": [{"learners": [3], "attack": "own"}]}
    seen: list[Seen] = []

    def attack(it: Seen):
        seen.append(it)
        return it.base - 100

    simulate({**scenario, "rule": "average"}, learners=lines, attack=attack)
    assert [it.honest[:, 0].tolist() for it in seen[:1]] == [[0.5, 1.0]]
    assert seen[0].layout == [("x", [1])] and float(seen[1].base[0]) == pytest.approx((1.5 - 100) / 3)


def test_a_rule_merges_what_was_sent() -> None:
    told: list[Sent] = []

    def median(sent: Sent):
        told.append(sent)
        return np.median(sent.updates, axis=0)

    scenario = {**IRIS, "split": "unequal", "faults": [{"learners": [2], "attack": "nan"}]}
    own = simulate(scenario, merge=median)
    built_in = simulate({**scenario, "rule": "median"})
    assert own.scores == pytest.approx(built_in.scores, abs=0.04)
    assert own.costs == built_in.costs and own.simulated_ms == built_in.simulated_ms
    assert own.root is None and own.history is None and own.rounds == 3 == len(told)
    for number, sent in enumerate(told, 1):
        assert sent.round == number and sent.learners == [1, 3, 4, 5]
        assert sent.updates.shape == (4, len(sent.base)) and np.isfinite(sent.updates).all()
        assert sent.weights.sum() == pytest.approx(1) and (np.diff(sent.weights) > 0).all()
    stays = simulate(scenario, merge=lambda sent: None)
    assert len(set(stays.scores)) == 1
    # Where learners bring their own data nobody knows how much.
    simulate({"rounds": 1}, learners=[Line(1.0), Line(2.0)], merge=lambda sent: told.append(sent))
    assert told[-1].weights.tolist() == [0.5, 0.5]


def test_what_fails_in_an_attack_or_a_rule_ends_the_run_and_is_told() -> None:
    def fails(seen):
        return 1 / 0

    with pytest.raises(
        ColearnError, match=r"the attack of learner [24] in round 1 failed: Zero"
    ) as told:
        simulate({**ATTACKED, "rule": "average"}, attack=fails)
    assert isinstance(told.value.__cause__, ZeroDivisionError)
    trace = traceback.extract_tb(told.value.__cause__.__traceback__)
    assert trace[-1].name == "fails", "where it was raised"
    with pytest.raises(
        ColearnError, match="merging round 1 failed: ValueError: it gave an array of shape"
    ):
        simulate(IRIS, merge=lambda sent: sent.base[1:])
    with pytest.raises(ColearnError, match="of float"):
        simulate(IRIS, merge=lambda sent: sent.base.astype(str))

    def interrupted(sent: Sent):
        signal.raise_signal(signal.SIGINT)
        return sent.base

    with pytest.raises(KeyboardInterrupt):
        simulate({**IRIS, "rounds": 10**5}, merge=interrupted)


def test_data_lies_beside_the_scenario(tmp_path) -> None:
    rows = [f"{at % 10},{at % 7},{'high' if at % 10 > 4 else 'low'}" for at in range(100)]
    (tmp_path / "points.csv").write_text("\n".join(["x,y,class", *rows]) + "\n")
    file = tmp_path / "scenario.toml"
    file.write_text('data = "points.csv"\nlabel = "class"\nlearners = 3\nrounds = 2\n')
    report = simulate(file, learners=lambda share: mlp(share) if share.classes else None)
    assert report.rounds == 2 and report.metric == "score"


def test_what_has_no_meaning_is_refused() -> None:
    for scenario, handed, why in [
        ({"split": "iid"}, {"learners": [Mean([1.0])]}, "split says what learners are made of"),
        ({"learners": 3}, {"learners": [Mean([1.0])]}, "learners is 3, and 1 were handed in"),
        ({}, {"learners": []}, "at least one learner"),
        (ATTACKED, {}, "no attack was handed in"),
        (IRIS, {"attack": lambda seen: seen.base}, 'no fault says attack = "own"'),
        ({**IRIS, "rule": "own"}, {}, "no rule was handed in"),
        ({**IRIS, "rule": "krum"}, {"merge": lambda sent: None}, "leave its rule out"),
        (
            {"faults": [{"learners": [1], "attack": "backdoor"}]},
            {"learners": [Mean([1.0])]},
            "which only built-in ones can be asked for",
        ),
    ]:
        with pytest.raises(ColearnError, match=why):
            simulate(scenario, **handed)
    with pytest.raises(ModelError, match="safetensors"):
        simulate({"rule": "average"}, learners=[Mean([1.0]), Mean([2.0])])

    class Half(Line):
        def current(self):
            return arrays.save({"x": np.float16([1])})

    with pytest.raises(ModelError, match="F16"):
        simulate({"rule": "average"}, learners=[Half(1.0), Half(2.0)])
    other = Line(2.0)
    other.media_type = "text/plain"
    with pytest.raises(ModelError, match="text/plain"):
        simulate({}, learners=[Line(1.0), other])
    texts = [Mean([1.0]), Mean([2.0])]
    for text in texts:
        text.media_type = "text/plain"
    with pytest.raises(PlanError, match="safetensors"):
        simulate(MERGED, learners=texts)


def test_a_sweep_is_so_many_simulations(capfd: pytest.CaptureFixture[str]) -> None:
    def first_of(sent: Sent) -> np.ndarray:
        return sent.updates[0]

    iris = {**IRIS, "training": {"epochs": 5}}
    attacked = {**iris, "faults": ATTACKED["faults"]}
    vary = {"faults.1.learners": [[], [2, 4]], "rule": [None, "median"]}
    swept = sweep(
        attacked,
        vary,
        seeds=2,
        attack=lambda seen: -seen.trained,
        merge=first_of,
        progress=True,
    )
    assert [tuple(it.setting.values()) for it in swept] == [
        ([], None),
        ([], "median"),
        ([2, 4], None),
        ([2, 4], "median"),
    ]
    alone = simulate({**attacked, "seed": 4, "rule": "median"}, attack=lambda seen: -seen.trained)
    assert swept[3].reports[1] == alone
    first = swept[0]
    finals = [report.final_score for report in first.reports]
    assert first.final_score == pytest.approx(np.mean(finals))
    assert first.deviation == pytest.approx(np.std(finals, ddof=1))
    assert first.scores[-1] == pytest.approx(first.final_score) and first.scores.shape == (3,)
    # The rule that was handed in, and no attack; without it there is one that is built in.
    honest = simulate({**iris, "seed": 3}, merge=first_of)
    assert first.reports[0] == honest != swept[1].reports[0]
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 8
    assert told[3].startswith("run 4 of 8: faults.1.learners=[], rule=median, seed 2 of 2: score 0.")


def test_a_sweep_that_cannot_be_is_refused_before_anything_runs() -> None:
    called: list[Share] = []
    refused = [
        ({"faults.3.share": [0.1]}, {}, "with faults.3.share=0.1"),
        ({"learners": [5, -1]}, {}, "with learners=-1"),
        ({"rule": [None, 'a "best", one']}, {}, "best"),
        ({"rule": []}, {}, "a value without anything in it"),
        ({"a..b": [1]}, {}, "in a table KEY is TABLE.KEY"),
        ({}, {"seeds": 0}, "seeds must be positive"),
        ({"rounds": range(1, 100)}, {"seeds": 10_000}, "these are 990000 runs"),
        ({"seed": [-1]}, {}, "with seed=-1"),
        ({}, {"learners": [Mean([1.0])]}, "made anew for each run"),
    ]
    for vary, more, why in refused:
        with pytest.raises(ColearnError, match=re.escape(why)):
            sweep(IRIS, vary, **{"learners": lambda share: called.append(share), **more})  # type: ignore[arg-type]
    assert not called
    # Nor is anything handed in that no setting has a place for.
    with pytest.raises(ColearnError, match="no fault says attack"):
        sweep(IRIS, {"rounds": [1, 2]}, attack=lambda seen: seen.base)
    with pytest.raises(ColearnError, match="a rule was handed in"):
        sweep(IRIS, {"rule": ["median"]}, merge=lambda sent: None)
    (only,) = sweep({**IRIS, "rounds": 1}, {}, learners=mlp)
    assert only.setting == {} and len(only.reports) == 1 and np.isnan(only.deviation)
