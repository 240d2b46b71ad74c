"""Forests and boosting: what others send is checked before a library's C code sees it."""

from __future__ import annotations

import dataclasses
import json
import struct

import numpy as np
import pytest
from lacking import need
from test_adapters import learns, points, shares

from colearn_client import (
    ForestLearner,
    LightGBMLearner,
    Pass,
    SklearnLearner,
    Weights,
    XGBoostLearner,
    arrays,
    run_local,
)
from colearn_client.adapters import _ubjson
from colearn_client.adapters._trees import MAX_DEPTH, Trees, reached
from colearn_client.errors import ModelError

FEATURES = 4


def checked(trees: Trees, outputs: int = 1) -> Trees:
    trees.check(features=FEATURES, outputs=outputs, most=10_000)
    return trees


def chain(depth: int) -> Trees:
    """A tree whose left children are leaves."""
    count = 2 * depth + 1
    at, inner = np.arange(count), np.arange(count) % 2 == 0
    inner[-1] = False
    return Trees(
        nodes=np.array([count]),
        left=np.where(inner, at + 1, -1),
        right=np.where(inner, at + 2, -1),
        feature=np.where(inner, 0, -1),
        threshold=np.zeros(count),
        missing=np.zeros(count, np.uint8),
        value=np.arange(depth + 1.0)[:, None],
    )


def walk(trees: Trees, row: np.ndarray) -> list[int]:
    """The leaf that a row comes to in each tree, as simply as it can be said."""
    found, start = [], 0
    for count in trees.nodes.tolist():
        at = start
        for _ in range(count):
            if trees.left[at] == -1:
                break
            goes_left = row[trees.feature[at]] <= trees.threshold[at]
            at = start + int((trees.left if goes_left else trees.right)[at])
            assert start <= at < start + count
        assert trees.left[at] == -1
        found.append(int(np.count_nonzero(trees.left[:at] == -1)))
        start += count
    return found


def changed(array: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """An array that is wrong somehow, often in one place only."""
    array = np.array(array)
    way = random.integers(8)
    if way == 0 and len(array):
        return array[: random.integers(len(array))]
    if way == 1:
        return np.concatenate([array, array[: random.integers(1, 3)]])
    if way == 2:
        return random.permutation(array)
    if way == 3:
        return array.reshape(-1, 1)
    info = np.iinfo if array.dtype.kind in "iu" else np.finfo
    odd = [-2, -1, 0, 1, 2, 3, len(array) - 1, len(array), info(array.dtype).min, info(array.dtype).max]
    if array.dtype.kind == "f":
        odd += [np.nan, np.inf, -np.inf]
    with np.errstate(all="ignore"):
        value = np.array(odd[random.integers(len(odd))]).astype(array.dtype)
    array.reshape(-1)[random.integers(max(1, array.size)) : random.integers(1, array.size + 2)] = value
    if way < 6 and array.size:
        array.reshape(-1)[random.integers(array.size)] = value
    return array


def test_trees_that_could_lead_anywhere_but_to_a_leaf_are_refused() -> None:
    good = checked(Trees.joined([chain(3), chain(1), Trees.stump(2.0), chain(2)]))
    assert good.depth() == 3 and [len(it.left) for it in good.each()] == [7, 3, 1, 5]
    assert [it.value.tolist() for it in good.each()][2:] == [[[2]], [[0], [1], [2]]]
    joined = Trees.joined(good.each())
    assert all(np.array_equal(getattr(joined, it), getattr(good, it)) for it in Trees.names())
    assert len(checked(Trees.none(1))) == 0 and Trees.none(1).each() == []
    checked(chain(MAX_DEPTH))

    def broken(why: str, **more) -> None:
        with pytest.raises(ModelError, match=why):
            checked(dataclasses.replace(good, **more))

    def put(name: str, at: int, value: float) -> dict[str, np.ndarray]:
        array = np.array(getattr(good, name))
        array[at] = value
        return {name: array}

    broken("not a later node", **put("left", 0, 0))
    broken("later node", **put("right", 2, 1))
    broken("later node", **put("left", 2, 7))
    broken("later node", **put("left", 0, 2**40))
    broken("later node", **put("right", 0, -5))
    broken("several parents", **put("left", 0, 2))
    broken("value is", **put("left", 2, -1))
    broken("leaf has what only", **put("right", 1, 2))
    broken("leaf has what only", **put("threshold", 1, 2))
    for feature in (-1, FEATURES, 2**40):
        broken("none of the 4", **put("feature", 0, feature))
    broken("missing values", **put("missing", 0, 2))
    for name, at in (("threshold", 0), ("value", 0)):
        for value in (np.nan, np.inf):
            broken("not finite", **put(name, at, value))
    for nodes in ([7, 3, 1], [7, 3, 1, 6], [7, 3, 0, 6], [8, 2, 1, 5], [-1, 11, 1, 5], [[16]]):
        broken("well formed", nodes=np.array(nodes))
    broken("value is", value=good.value[:-1])
    with pytest.raises(ModelError, match=f"deeper than {MAX_DEPTH}"):
        checked(chain(MAX_DEPTH + 1))
    with pytest.raises(ModelError, match="max_trees=3"):
        good.check(features=FEATURES, outputs=1, most=3)
    with pytest.raises(ModelError, match="value is"):
        checked(good, outputs=2)


def test_whatever_passes_the_check_ends_at_a_leaf() -> None:
    random = np.random.default_rng(1)
    good = Trees.joined([chain(3), chain(1), Trees.stump(2.0), chain(2)])
    refused = 0
    for _ in range(2000):
        names = random.choice(Trees.names(), random.integers(1, 3), replace=False)
        bad = dataclasses.replace(good, **{it: changed(getattr(good, it), random) for it in names})
        try:
            checked(bad)
        except ModelError:
            refused += 1
        else:
            walk(bad, random.normal(size=FEATURES))
    assert 1000 < refused < 2000


def test_what_pruning_leaves_behind_is_found() -> None:
    left, right = np.array([3, -1, -1, 5, -1, -1, -1]), np.array([4, -1, -1, 6, -1, -1, -1])
    assert reached(left, right).tolist() == [0, 3, 4, 5, 6]
    for child in (0, 3, 7, -2):
        with pytest.raises(ModelError):
            reached(np.array([3, -1, -1, child]), np.array([1, -1, -1, 2]))


def forest(kind: str, share, *, classes=(0, 1), **more) -> ForestLearner:
    ensemble = need("sklearn.ensemble")
    settings = {"random_state": 1, **more.pop("settings", {})}
    classes = classes if kind.endswith("Classifier") else None
    return ForestLearner(getattr(ensemble, kind)(**settings), *share, classes=classes, **more)


CLASSIFIERS = ["RandomForestClassifier", "ExtraTreesClassifier", "GradientBoostingClassifier"]
REGRESSORS = ["RandomForestRegressor", "ExtraTreesRegressor", "GradientBoostingRegressor"]


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_forests_and_boosting_of_scikit_learn_add_trees(kind: str) -> None:
    made = [forest(kind, share, trees=4) for share in shares(3)]
    told = learns(made)
    accepted = sum(item.verdict == "accepted" for item in told.rounds)
    prior = kind.startswith("Gradient")
    assert made[0].estimator.n_estimators == 4 * accepted + prior
    # What one has saved is the same model at another, and what it saves again.
    x, _ = points(9)
    other = forest(kind, next(shares(1)))
    other.accept(made[1].current())
    assert np.array_equal(other.estimator.predict_proba(x), made[1].estimator.predict_proba(x))
    assert other._save() == made[1].current()
    # Rejected trees are followed by others.
    assert other.propose() != other.propose()
    # As one walks by hand: the mean, or the sum.
    found = [made[1]._shared.value[walk(made[1]._shared, row.astype(np.float32))] for row in x[:20]]
    if prior:
        score = 0.1 * np.array([it.sum() for it in found])
        assert np.allclose(made[1].estimator.decision_function(x[:20]), score)
    else:
        mean = [it.mean(axis=0) for it in found]
        assert np.allclose(made[1].estimator.predict_proba(x[:20]), mean)


@pytest.mark.parametrize("kind", REGRESSORS)
def test_they_predict_numbers(kind: str) -> None:
    random = np.random.default_rng(1)

    def share(rows: int = 60):
        x = random.normal(size=(rows, FEATURES))
        return x, 100 + x[:, 0] + 2 * x[:, 1]

    made = [forest(kind, (share(), share(), share()), trees=20) for _ in range(2)]
    told = run_local(made, rounds=4)
    assert max(item.mean_test_score() for item in told.rounds) > 0.6
    assert made[0].current() == made[1].current()


def test_members_of_some_classes_share_a_forest_of_all() -> None:
    names = np.array(["a", "bb", "longer"])
    random = np.random.default_rng(1)

    def share(known):
        y = random.choice(known, 80)
        x = random.normal(size=(80, FEATURES)) * 0.3 + np.eye(3, FEATURES)[y] * 3
        return x, names[y]

    everything = share(range(3))
    for kind in CLASSIFIERS:
        few = [forest(kind, (share(it), everything), classes=names) for it in ([0, 1], [1, 2])]
        run_local(few, rounds=6, plan={"threshold": "1/2"})
        predicted = few[0].estimator.predict(everything[0])
        # Two of three classes would be two thirds.
        assert np.mean(predicted == everything[1]) > 0.8, kind
        if not kind.startswith("Gradient"):
            # Also where classes are weighed that some have no rows of.
            few = [
                forest(kind, (share(it), everything), classes=names, settings={"class_weight": how})
                for it, how in (([0, 1], "balanced"), ([1, 2], "balanced_subsample"))
            ]
            run_local(few, rounds=6, plan={"threshold": "1/2"})
            predicted = few[0].estimator.predict(everything[0])
            assert np.mean(predicted == everything[1]) > 0.8, kind
        # Who has a single class has nothing to tell apart.
        alone = forest(kind, (share([0]), everything), classes=names)
        assert alone.propose() == Pass(reason="too_little_data")
        with pytest.raises(ModelError, match="classes is"):
            forest(kind, (everything, everything), classes=[*names, "d"]).accept(few[0].current())


def test_a_column_without_values_is_split_as_it_was() -> None:
    (x, _), *rest = next(shares(1))
    x = np.where(np.arange(len(x))[:, None] % 3 == 0, np.nan, x)
    learner = forest("RandomForestClassifier", ((x, np.isnan(x[:, 0]).astype(int)), *rest))
    trained = learner.propose().weights
    threshold = arrays.load(trained)["threshold"]
    assert np.finfo(np.float64).max in threshold
    learner.accept(trained)
    assert learner.estimator.score(*learner._data["train"]) == 1


@pytest.mark.parametrize("kind", ["RandomForestClassifier", "GradientBoostingClassifier"])
def test_every_array_of_a_forest_is_checked(kind: str) -> None:
    random = np.random.default_rng(2)
    share = next(shares(1))
    learner = forest(kind, share, settings={"max_depth": 4})
    weights = learner.propose().weights
    named, words = arrays.load(weights), arrays.metadata(weights)
    x = share[0][0].astype(np.float32)
    refused = 0
    for at in range(600):
        name = list(named)[at % len(named)]
        try:
            learner._load(arrays.save({**named, name: changed(named[name], random)}, words))
        except ModelError:
            refused += 1
        else:
            walk(learner._shared, x[0])
            learner.estimator.predict(x)
    assert 400 < refused < 600
    # Other names, kinds of numbers and words.
    for name in named:
        with pytest.raises(ModelError, match="no trees"):
            learner._load(arrays.save({it: named[it] for it in named if it != name}, words))
        with pytest.raises(ModelError, match="no trees"):
            other = "<i8" if named[name].dtype.kind == "i" else "<f4"
            learner._load(arrays.save({**named, name: named[name].astype(other)}, words))
    for word in ("estimator", "features", "classes", "colearn.trees"):
        with pytest.raises(ModelError, match=f"the model's {word}"):
            learner._load(arrays.save(named, {**words, word: "x"}))
    with pytest.raises(ModelError):
        learner._load(Weights(b"garbage"))


def test_a_leafs_probabilities_are_some() -> None:
    learner = forest("RandomForestClassifier", next(shares(1)))
    weights = learner.propose().weights
    named, words = arrays.load(weights), arrays.metadata(weights)
    for factor in ([1, 3], [1e300, 1e300], [-1, 1]):
        with pytest.raises(ModelError, match="probabilities"):
            learner._load(arrays.save({**named, "value": named["value"] * factor}, words))


def test_estimators_that_nobody_can_add_to_are_refused() -> None:
    ensemble = need("sklearn.ensemble")
    share = next(shares(1))
    for estimator, why in {
        ensemble.HistGradientBoostingClassifier(): "bins of its own rows",
        ensemble.AdaBoostClassifier(): "none of",
        ensemble.GradientBoostingClassifier(learning_rate=0.0): "some rate",
        ensemble.GradientBoostingClassifier(init=ensemble.RandomForestClassifier()): "init=None",
        ensemble.RandomForestClassifier(2).fit(*share[0]): "trained already",
    }.items():
        with pytest.raises(ModelError, match=why):
            ForestLearner(estimator, *share)
    with pytest.raises(ModelError, match=r"rows of \[1\], which are none of the classes"):
        forest("RandomForestClassifier", share, classes=[0, 2])
    with pytest.raises(ModelError, match="are for ForestLearner"):
        SklearnLearner(ensemble.RandomForestClassifier(warm_start=True), *share)


def xgboost(share, **more) -> XGBoostLearner:
    need("xgboost")
    parameters = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1, **more}
    return XGBoostLearner(parameters, *share, trees=3)


def lightgbm(share, **more) -> LightGBMLearner:
    need("lightgbm")
    parameters = {"objective": "binary", "num_leaves": 7, "min_data_in_leaf": 5, "num_threads": 1}
    return LightGBMLearner({**parameters, **more}, *share, trees=3)


def test_a_full_model_is_neither_proposed_nor_taken() -> None:
    made = [forest(CLASSIFIERS[0], share, trees=4, max_trees=9) for share in shares(2)]
    with pytest.warns(UserWarning, match="max_trees=9"):
        told = run_local(made, rounds=4, plan={"threshold": "0/1"})
    assert [item.weights is None for item in told.rounds] == [False, False, True, True]
    smaller = forest(CLASSIFIERS[0], next(shares(1)), max_trees=7)
    with pytest.raises(ModelError, match="max_trees=7"):
        smaller.accept(made[0].current())


def test_xgboost_predicts_with_what_was_read_as_with_what_it_made() -> None:
    library = need("xgboost")
    (train, vote, test) = next(shares(1))
    for more in (
        {},
        {"gamma": 2.0, "max_depth": 6},
        {"objective": "multi:softprob", "num_class": 3, "num_parallel_tree": 2, "subsample": 0.7},
        {"objective": "multi:softmax", "num_class": 2},
        {"objective": "reg:squarederror", "base_score": 0.25},
    ):
        gaps = np.where(train[0] > 1.5, np.nan, train[0])
        learner = xgboost(((gaps, train[1]), vote, test), **more)
        own = library.train(learner._parameters, library.DMatrix(gaps, train[1]), 6)
        # Whoever begins with a model of XGBoost's own begins with its trees.
        learner.accept(Weights(bytes(own.save_raw("ubj"))))
        rows = library.DMatrix(np.where(vote[0] < -1, np.nan, vote[0]))
        assert np.array_equal(learner.booster.predict(rows), own.predict(rows)), more
        assert learner.booster.num_boosted_rounds() == 6
        again = learner._save()
        learner.accept(again)
        assert learner._save() == again
        continued = library.train(learner._parameters, learner._rows["train"], 3, xgb_model=own)
        proposal = learner.propose()
        learner.accept(proposal.weights)
        if "subsample" not in more:
            assert np.array_equal(learner.booster.predict(rows), continued.predict(rows)), more
        # What the rows of training weighed does not travel.
        tree = _ubjson.load(proposal.weights.data, 10**6)
        tree = tree["learner"]["gradient_booster"]["model"]["trees"][0]
        assert not (tree["sum_hessian"].any() or tree["loss_changes"].any())
    for more in ({"objective": "reg:logistic"}, {"base_score": 0.4}):
        with pytest.raises(ModelError, match="this learner's"):
            xgboost((train, vote)).accept(xgboost((train, vote), **more).current())
    with pytest.raises(ModelError, match="no trees that others can add to"):
        xgboost((train, vote), booster="gblinear")


def test_models_of_xgboost_that_are_broken_somewhere_are_refused() -> None:
    learner = xgboost(next(shares(1)))
    learner.accept(learner.propose().weights)
    good = learner.current().data
    random = np.random.default_rng(3)
    odd = [
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\0\0\0\0",
        b"\0\0\0\x09",
        b"[$T#",
        b"{",
        b"]",
        b"D",
    ]
    taken = 0
    for at in range(1500):
        data = bytearray(good)
        if at % 3:
            for _ in range(random.integers(1, 4)):
                data[random.integers(len(data))] = random.integers(256)
        else:
            data = data[: random.integers(1, len(data))] if at % 2 else data
            put, piece = random.integers(len(data)), odd[random.integers(len(odd))]
            data[put : put + random.integers(0, 5)] = piece
        try:
            learner._load(Weights(bytes(data)))
        except ModelError:
            continue
        taken += 1
        learner._predict("vote")
    assert 50 < taken < 1450
    # Small bytes that promise much.
    for bomb in (
        b"[$T#l\x7f\xff\xff\xff",
        b"[$d#l\x7f\xff\xff\xff",
        b"[#l\x7f\xff\xff\xffT",
        b"[" * 10**6,
    ):
        with pytest.raises(ModelError):
            _ubjson.load(b"{l\0\0\0\x01a" + bomb, 10**5)
    with pytest.raises(ModelError, match="more parts"):
        _ubjson.load(b"[" + b"[]" * 1000 + b"]", 999)
    with pytest.raises(ModelError, match="comes twice"):
        _ubjson.load(b"{" + 2 * b"i\x01aT" + b"}", 10)


def test_every_array_of_an_xgboost_tree_is_checked() -> None:
    learner = xgboost(next(shares(1)))
    good = _ubjson.load(learner.propose().weights.data, 10**5)
    random = np.random.default_rng(4)
    trees = good["learner"]["gradient_booster"]["model"]["trees"]
    names = ["left_children", "right_children", "split_indices", "split_conditions", "default_left"]
    refused = 0
    for at in range(500):
        tree, name = trees[at % len(trees)], names[at % len(names)]
        kept, tree[name] = (
            tree[name],
            changed(tree[name].astype(tree[name].dtype.newbyteorder("=")), random),
        )
        try:
            if tree[name].ndim == 1:
                learner._load(Weights(_ubjson.dump(good)))
                learner._predict("vote")
        except ModelError:
            refused += 1
        tree[name] = kept
    assert 200 < refused < 500
    for name, value in {
        "split_type": np.ones(99, np.uint8),
        "categories": np.ones(1, np.int32),
    }.items():
        kept, trees[0][name] = trees[0][name], value
        with pytest.raises(ModelError, match="categories"):
            learner._load(Weights(_ubjson.dump(good)))
        trees[0][name] = kept
    learner._load(Weights(_ubjson.dump(good)))
    # XGBoost's own arrays have 32 bits: a larger number would be another one there.
    trees[0]["split_conditions"] = trees[0]["split_conditions"].astype(np.float64)
    with pytest.raises(ModelError):
        learner._load(Weights(_ubjson.dump(good)))


def test_ubjson_comes_back_as_it_was() -> None:
    value = {
        "a": [1, -5, "word", None, True, False, 2.5],
        "b": {"": []},
        "c": np.arange(3, dtype=">i4"),
    }
    found = _ubjson.load(_ubjson.dump(value), 100)
    assert np.array_equal(found.pop("c"), value.pop("c")) and found == value
    for kind, marker in {
        "b": b"i",
        "B": b"U",
        "h": b"I",
        "i": b"l",
        "q": b"L",
        "f": b"d",
        "d": b"D",
    }.items():
        assert _ubjson.load(marker + struct.pack(">" + kind, 5), 1) == 5


def test_lightgbm_adds_trees() -> None:
    learns([lightgbm(share) for share in shares(3)], least=0.8)
    library = need("lightgbm")
    (x, y), vote, test = next(shares(1))
    gaps = np.where(x > 1.5, np.nan, x)
    for more in (
        {},
        {"objective": "multiclass", "num_class": 3},
        {"objective": "regression"},
        {"zero_as_missing": True},
        {"min_data_in_leaf": 1000},
    ):
        learner = lightgbm(((gaps, y), vote, test), **more)
        first = learner.current()
        own = library.train(learner._parameters, library.Dataset(gaps, y, free_raw_data=False), 6)
        learner.accept(Weights(own.model_to_string().encode()))
        rows = np.where(vote[0] < -1, np.nan, vote[0])
        assert np.array_equal(learner.booster.predict(rows), own.predict(rows)), more
        again = learner._save()
        learner.accept(again)
        assert learner._save() == again
        if "min_data_in_leaf" in more:
            # One leaf, the mean, is all that it can say; nothing is left to add.
            assert learner.propose() == Pass(reason="too_little_data")
            continue
        data = library.Dataset(gaps, y, free_raw_data=False)
        continued = library.train(learner._parameters, data, 3, init_model=own)
        learner.accept(learner.propose().weights)
        assert np.allclose(learner.booster.predict(rows), continued.predict(rows)), more
        # Ranges of columns and counts of rows do not travel.
        text = learner.current().data.decode()
        assert "feature_infos=none none none none\n" in text and "count" not in text
        learner.accept(first)
        assert learner.test(first).approve
    with pytest.raises(ModelError, match="averages trees"):
        lightgbm(((x, y), vote), boosting="rf", bagging_freq=1, bagging_fraction=0.5)
    with pytest.raises(ModelError, match="the model's objective is 'regression'"):
        lightgbm(((x, y), vote)).accept(lightgbm(((x, y), vote), objective="regression").current())


def test_models_of_lightgbm_that_are_broken_somewhere_are_refused() -> None:
    learner = lightgbm(next(shares(1)))
    learner.accept(learner.propose().weights)
    good = learner.current().data.decode()
    random = np.random.default_rng(5)
    odd = ["-1", "-99", "99", "2147483648", "9" * 400, "nan", "inf", "1e999", "", "0.5", "x", "3", "-3"]
    taken = 0
    for at in range(1200):
        lines = good.split("\n")
        place = int(random.integers(len(lines)))
        name, equals, value = lines[place].partition("=")
        words = value.split(" ")
        words[random.integers(len(words))] = odd[random.integers(len(odd))]
        lines[place] = [
            name + equals + " ".join(words),
            name + equals + " ".join(words * 2),
            name,
            lines[random.integers(len(lines))],
        ][at % 4 if at % 3 else 0]
        try:
            learner._load(Weights("\n".join(lines).encode()))
        except ModelError:
            continue
        taken += 1
        learner._predict("vote")
    assert 60 < taken < 1140
    for text in (
        "",
        "tree\n",
        "\nend of trees\n",
        "tree\n" + "\n" * 10**6 + "\nend of trees\n",
        "\xff" + good,
    ):
        with pytest.raises(ModelError):
            learner._load(Weights(text.encode() or b"x"))
    for old, new in {"num_cat=0": "num_cat=1", "is_linear=0": "is_linear=1"}.items():
        with pytest.raises(ModelError, match="categories"):
            learner._load(Weights(good.replace(old, new, 1).encode()))


def test_a_model_predicts_where_there_are_no_rows_to_learn_from() -> None:
    nothing = np.zeros((0, FEATURES)), np.zeros(0)
    for make in (lambda share: forest(CLASSIFIERS[0], share), xgboost, lightgbm):
        share = next(shares(1))
        trained, empty = make(share), make((nothing, nothing, nothing))
        weights = trained.propose().weights
        empty.accept(weights)
        trained.accept(weights)
        assert empty._save() == trained._save()
        judged = empty.test(weights)
        assert (judged.approve, judged.test, judged.reason) == (None, None, "too_little_data")
        assert empty.tested(weights) == (None, None)
        assert empty.propose() == Pass(reason="too_little_data")


def test_trees_of_drawn_rows_that_were_rejected_are_followed_by_others() -> None:
    share = next(shares(1))
    for more in ({}, {"seed": 5}, {"random_state": 5}):
        for learner in (
            xgboost(share, subsample=0.5, **more),
            lightgbm(share, bagging_fraction=0.5, bagging_freq=1, **more),
        ):
            assert learner.propose() != learner.propose()
    assert xgboost(share, subsample=0.5).propose() == xgboost(share, subsample=0.5).propose()


def test_boosters_say_which_rows_they_get_right() -> None:
    for make in (xgboost, lightgbm):
        share = next(shares(1))
        learner = make(share)
        score, rights = learner.tested(learner.propose().weights)
        assert rights is not None and score == np.mean(rights) > 0.7
        only = share[1][1] == 0
        judged = make((share[0], (share[1][0][only], share[1][1][only]))).test(learner.current())
        assert (judged.approve, judged.reason) == (None, "too_little_data")


def test_the_first_model_is_the_same_for_everybody_and_has_no_trees() -> None:
    for make in (lambda share: forest(CLASSIFIERS[0], share), xgboost, lightgbm):
        a, b = (make(share) for share in shares(2))
        assert a.current() == b.current() and len(a._shared) == 0
        assert a.test(b.propose().weights).approve
    words = arrays.metadata(forest(CLASSIFIERS[0], next(shares(1))).current())
    assert json.loads(words["classes"]) == [0, 1]
