"""Learners around well-known libraries; each needs its library."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from lacking import need

from colearn_client import (
    MlpLearner,
    Pass,
    Privacy,
    PrivacySegment,
    PrivateProposal,
    Schema,
    Weights,
    arrays,
    dp,
    run_local,
)
from colearn_client.adapters import MliLearner, SklearnLearner
from colearn_client.errors import ModelError
from colearn_client.mlp import HEADER, describe, layer_widths, untrained


def points(seed: int, rows: int = 200):
    """Two classes that a line separates, nearly."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 4))
    return x, (x[:, 0] + 2 * x[:, 1] + 0.3 * random.normal(size=rows) > 0).astype(int)


def shares(count: int):
    for at in range(count):
        x, y = points(at)
        yield (x[:120], y[:120]), (x[120:160], y[120:160]), (x[160:], y[160:])


def learns(learners, rounds: int = 6, least: float = 0.85):
    told = run_local(learners, rounds=rounds)
    assert len(told.rounds) == rounds
    assert all(item.verdict in ("accepted", "rejected") for item in told.rounds)
    scores = [item.mean_test_score() for item in told.rounds if item.verdict == "accepted"]
    assert max(scores) > least, scores
    # Everybody has the same model in the end.
    assert {learner.current().digest.hex() for learner in learners} == {told.model}
    return told


def test_arrays_of_every_shape_come_back_as_they_were() -> None:
    for dtype in (np.float64, np.float32, np.float16, np.int64, np.uint8, np.bool_):
        for shape in [(), (0,), (1,), (1, 1), (3, 0, 2), (5,), (2, 3), (2, 3, 4)]:
            array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
            # By rows, by columns, backwards: the layout in memory is not the model's.
            given = {"rows": array, "columns": np.asarray(array, order="F"), "back": np.flip(array)}
            loaded = arrays.load(arrays.save(given))
            arrays.check_like(loaded, given)
            for name, own in given.items():
                assert loaded[name].dtype == dtype and np.array_equal(loaded[name], own), name
    scalars = arrays.load(arrays.save({"numpy": np.float32(2.5), "python": 3, "list": [4]}))
    shapes = {name: array.shape for name, array in scalars.items()}
    assert shapes == {"numpy": (), "python": (), "list": (1,)}


def test_judgements_say_why() -> None:
    spec = describe(4, 2)
    (train, vote, test) = next(shares(1))

    def make(vote, **more) -> MlpLearner:
        return MlpLearner(train, vote, test, initial=untrained(spec), **more)

    learner = make(vote)
    first = learner.current()
    better = learner.propose().weights
    assert learner.test(better).approve and learner.test(better).reason is None
    learner.accept(better)
    assert (learner.test(first).approve, learner.test(first).reason) == (False, "worse")
    broken = {name: np.array(array) for name, array in arrays.load(first).items()}
    broken["layers.0.weight"][0, 0] = np.nan
    judged = learner.test(arrays.save(broken, arrays.metadata(first)))
    assert (judged.approve, judged.reason) == (False, "not_finite")
    assert learner.current() == better
    # A single class judges nothing, and neither does nothing.
    only = vote[1] == 0
    for few in [(vote[0][only], vote[1][only]), (vote[0][:0], vote[1][:0])]:
        judged = make(few, hide_scores=True).test(better)
        assert (judged.approve, judged.reason, judged.test) == (None, "too_little_data", None)
    # What training makes of weights that are no numbers is not proposed.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wild = MlpLearner(train, vote, initial=untrained(spec), learning_rate=1e38, momentum=9.0)
        assert wild.propose() == Pass(reason="not_finite")


def test_sklearn_linear_models_and_networks() -> None:
    linear_model = need("sklearn.linear_model")
    neural_network = need("sklearn.neural_network")
    learns([SklearnLearner(linear_model.SGDClassifier(random_state=1), *s) for s in shares(3)])
    mlp = neural_network.MLPClassifier
    made = [
        SklearnLearner(mlp((8,), random_state=1, learning_rate_init=0.02), *s, epochs=20)
        for s in shares(3)
    ]
    learns(made, least=0.8)
    regression = linear_model.SGDRegressor(random_state=1)
    (train, vote, test), *_ = list(shares(1))
    learner = SklearnLearner(regression, train, vote, test)
    before = learner.current()
    proposal = learner.propose()
    assert learner.current() == before
    assert learner.test(proposal.weights).approve


def test_sklearn_models_that_only_pickle_or_forget_are_refused() -> None:
    ensemble = need("sklearn.ensemble")
    linear_model = need("sklearn.linear_model")
    (share, *_) = list(shares(1))
    with pytest.raises(ModelError, match="a pickle can execute code"):
        SklearnLearner(ensemble.RandomForestClassifier(warm_start=True), *share)
    with pytest.raises(ModelError, match="neither partial_fit nor warm_start"):
        SklearnLearner(linear_model.LogisticRegression(), *share)
    learner = SklearnLearner(linear_model.SGDClassifier(), *share)
    with pytest.raises(ModelError, match="of another model"):
        learner.accept(arrays.save({"x": np.zeros(3)}))
    other = {name: np.zeros((9, 9)) for name in arrays.load(learner.current())}
    with pytest.raises(ModelError, match="this learner's model has"):
        learner.accept(arrays.save(other))


def test_sklearn_learners_of_some_classes_know_all_or_say_that_they_cannot() -> None:
    linear_model = need("sklearn.linear_model")
    neural_network = need("sklearn.neural_network")
    x, y = points(1)
    short = np.where(y > 0, "a", "b")
    for targets, classes in [(short, ["a", "b", "longer"]), (y.astype(np.int8), [0, 1, 300])]:
        for estimator in (linear_model.SGDClassifier(), neural_network.MLPClassifier((4,))):
            learner = SklearnLearner(estimator, (x, targets), (x, targets), classes=classes)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                learner.accept(learner.propose().weights)
            assert learner.estimator.classes_.tolist() == classes
        forgets = linear_model.LogisticRegression(warm_start=True)
        with pytest.raises(ModelError, match="forgets the classes"):
            SklearnLearner(forgets, (x, targets), (x, targets), classes=classes)
        with pytest.raises(ModelError, match="none of the classes"):
            SklearnLearner(forgets, (x, targets), (x, targets), classes=classes[1:])
    averaged = linear_model.SGDClassifier(average=True)
    with pytest.raises(ModelError, match="weights of its own"):
        SklearnLearner(averaged, (x, y), (x, y))


def test_the_numpy_reference_model() -> None:
    for hidden in [[], [8], [8, 6]]:
        initial = untrained(describe(4, 2, hidden, "tanh" if len(hidden) > 1 else "relu"))
        made = [MlpLearner(*s, initial=initial, seed=at) for at, s in enumerate(shares(3))]
        learns(made)
    assert layer_widths(describe(4, 0, [3])) == [4, 3, 1]
    learner = made[0]
    broken = {name: np.array(array) for name, array in arrays.load(learner.current()).items()}
    broken["layers.0.bias"][0] = np.nan
    spec = arrays.metadata(learner.current())
    with pytest.raises(ModelError, match="not finite"):
        learner.accept(arrays.save(broken, spec))
    headers = ["{", "[]", "{}", "null", '{"format": "colearn/model/v1"}', "[" * 100_000]
    undescribed = [arrays.save({"x": np.ones(1)}, {HEADER: header}) for header in headers]
    for garbage in [*map(Weights, [b"", b"garbage", b"\xff" * 100]), *undescribed]:
        with pytest.raises(ModelError):
            learner.accept(garbage)
    with pytest.raises(ModelError, match="another model"):
        learner.accept(untrained(describe(4, 2, [5])))


def test_gradients_are_those_of_the_loss() -> None:
    x, y = points(1, 8)
    for activation, classes in [("relu", 2), ("tanh", 2), ("tanh", 0)]:
        initial = untrained(describe(4, classes, [5], activation), 3)
        learner = MlpLearner((x, y), (x, y), initial=initial)
        gradients = learner._gradients(x.astype(np.float32), y)

        def loss(learner=learner, classes=classes) -> float:
            predicted = learner.predict(x).astype(float)
            if classes:
                return float(-np.log(predicted[np.arange(len(y)), y]).mean())
            return float(((predicted[:, 0] - y) ** 2).mean())

        for layer in (0, 1):
            weight = learner._layers[layer][0]
            for at in [(0, 0), (0, 3)]:
                kept = weight[at]
                weight[at] = kept + 1e-2
                above = loss()
                weight[at] = kept - 1e-2
                below = loss()
                weight[at] = kept
                assert abs((above - below) / 2e-2 - gradients[layer][0][at]) < 5e-3


class Mli:
    """A class written for the original interface, and for nothing else."""

    class Weights:
        def __init__(self, weights):
            self.weights = weights

    class ProposedWeights:
        def __init__(self, weights, vote_score, test_score, vote):
            self.weights, self.vote = weights, vote
            self.vote_score, self.test_score = vote_score, test_score

    def __init__(self, share):
        (self.x, self.y), (self.vx, self.vy), (self.tx, self.ty) = share
        self.w = [np.zeros(4), np.zeros(1)]

    def mli_propose_weights(self):
        w, b = [array.copy() for array in self.w]
        for _ in range(50):
            p = 1 / (1 + np.exp(-(self.x @ w + b)))
            w -= 0.5 * self.x.T @ (p - self.y) / len(self.y)
            b -= 0.5 * np.mean(p - self.y)
        return self.Weights([w, b])

    def _accuracy(self, weights, x, y):
        return float(np.mean((x @ weights[0] + weights[1] > 0) == y))

    def mli_test_weights(self, weights, eval_config=None):
        new = self._accuracy(weights.weights, self.vx, self.vy)
        old = self._accuracy(self.w, self.vx, self.vy)
        test = self._accuracy(weights.weights, self.tx, self.ty)
        return self.ProposedWeights(weights.weights, new, test, new >= old)

    def mli_accept_weights(self, weights):
        self.w = weights.weights

    def mli_get_current_weights(self):
        return self.Weights(self.w)

    def mli_get_current_model(self):
        return None


def test_classes_of_the_original_interface_run_unchanged() -> None:
    learns([MliLearner(Mli(share)) for share in shares(3)])


def test_what_are_no_numbers_is_not_proposed() -> None:
    class Wild(Mli):
        def mli_propose_weights(self):
            return self.Weights([self.w[0] * np.nan, self.w[1]])

    rounds = run_local([MliLearner(Wild(share)) for share in shares(2)], rounds=2).rounds
    assert [(item.verdict, item.reason) for item in rounds] == [("passed", "not_finite")] * 2


def test_a_table_is_learned_from_as_the_models_schema_says() -> None:
    pandas = need("pandas")
    tables = []
    for at in range(3):
        x, y = points(at)
        table = pandas.DataFrame(x, columns=list("abcd"))
        table["side"] = np.where(y > 0, "right", "left")
        tables.append((table[:120], table[120:160], table[160:]))
    schema = Schema.derive(tables[0][0], "side")
    initial = untrained({**describe(4, 2, [8]), "schema": schema.described})
    assert Schema.of_model(initial) == schema
    learners = [MlpLearner(*each, initial=initial, seed=at) for at, each in enumerate(tables)]
    learns(learners)
    unknown = tables[1][2]
    predicted = learners[0].predict(unknown.drop(columns="side")).argmax(axis=1)
    assert np.mean(np.array(schema.classes)[predicted] == unknown["side"]) > 0.85


def test_weights_that_only_pickle_need_trust() -> None:
    class Stubborn(Mli):
        def mli_get_current_weights(self):
            return self.Weights({"what": object})

    (share, *_) = list(shares(1))
    with pytest.raises(ModelError, match="trust_pickle=True"):
        MliLearner(Stubborn(share)).current()
    with pytest.warns(UserWarning, match="execute code"):
        learner = MliLearner(Stubborn(share), trust_pickle=True)
    assert learner.media_type == "application/x-colearn-legacy"
    with pytest.raises(ModelError, match="not loaded"):
        MliLearner(Stubborn(share)).test(Weights(b"x"))


def test_torch_modules_and_privacy() -> None:
    torch = need("torch")

    def loaders(share):
        for x, y in share:
            data = torch.utils.data.TensorDataset(torch.tensor(x, dtype=torch.float32), torch.tensor(y))
            yield torch.utils.data.DataLoader(data, batch_size=30)

    from colearn_client import TorchLearner

    def make(share, *norm, **more):
        torch.manual_seed(1)
        layers = [torch.nn.Linear(4, 8), *norm, torch.nn.ReLU(), torch.nn.Linear(8, 2)]
        model = torch.nn.Sequential(*layers)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
        return TorchLearner(model, optimizer, *loaders(share), epochs=5, **more)

    learns([make(share) for share in shares(3)])
    # Batch normalisation keeps running means, and a count of batches that is a single number.
    learners = [make(share, torch.nn.BatchNorm1d(8)) for share in shares(3)]
    learns(learners)
    assert learners[0].model[1].num_batches_tracked.shape == ()
    need("opacus")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        privacy = {"noise_multiplier": 0.5, "max_grad_norm": 1.0}
        private = [make(share, privacy=privacy) for share in shares(3)]
        told = learns(private, least=0.6)
        # It says what a training takes; how much that reveals, whoever runs it works out.
        planned = private[0].privacy()
        segment = PrivacySegment(0.5, 1.0, 0.25, 20)
        assert planned == Privacy(segment, 1e-5, None)
        proposal = private[0].propose()
        assert isinstance(proposal, PrivateProposal) and proposal.segment == segment
        # Its budget lasts for one turn, and it goes on voting.
        few = [
            make(share, privacy={**privacy, "epsilon": 1.05 * dp.epsilon(segment)})
            for share in shares(2)
        ]
        rounds = run_local(few, rounds=6).rounds
        assert [item.weights is None for item in rounds] == [False, False, True, True]
    assert told.rounds[0].weights


def test_a_torch_model_of_any_numbers_is_shared_and_its_optimizer_starts_afresh() -> None:
    torch = need("torch")
    from colearn_client import TorchLearner

    (train, vote, test), *_ = list(shares(1))

    def loaders():
        for x, y in (train, vote, test):
            inputs = torch.tensor(x, dtype=torch.float32)
            data = [{"x": inputs[at : at + 30], "y": torch.tensor(y[at : at + 30])} for at in (0, 30)]
            yield data

    def loss(model, batch):
        return torch.nn.functional.cross_entropy(
            model(batch["x"].to(model[0].weight.dtype)), batch["y"]
        )

    def score(model, loader):
        return -float(sum(loss(model, batch) for batch in loader))

    for kind in (torch.bfloat16, torch.float16, torch.float64):
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(4, 2)).to(kind)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        learner = TorchLearner(model, optimizer, *loaders(), loss=loss, score=score)
        first = learner.current()
        proposed = [learner.propose().weights for _ in range(2)]
        # What a proposal has left behind does not show in the next.
        assert proposed[0] == proposed[1] != first and learner.current() == first
        learner.accept(proposed[0])
        assert learner._save() == proposed[0], kind
        assert learner.test(first).test is not None


def test_only_a_part_of_a_torch_model_is_shared_and_it_belongs_to_its_rest() -> None:
    torch = need("torch")
    from colearn_client import TorchLearner

    def make(share, seed=1, parameters="trainable", frozen=True, **more):
        torch.manual_seed(seed)
        body = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU())
        model = torch.nn.Sequential(body, torch.nn.Linear(8, 2))
        if frozen:
            body.requires_grad_(False)
        optimizer = torch.optim.SGD(model[1].parameters(), lr=0.3)
        loaders = []
        for x, y in share:
            data = torch.utils.data.TensorDataset(torch.tensor(x, dtype=torch.float32), torch.tensor(y))
            loaders.append(torch.utils.data.DataLoader(data, batch_size=30))
        return TorchLearner(model, optimizer, *loaders, parameters=parameters, epochs=5, **more)

    first, *_ = list(shares(1))
    learners = [make(share) for share in shares(3)]
    told = learns(learners, least=0.75)
    sent = arrays.load(learners[0].current())
    # The running statistics change in training, so that they travel too.
    body = {f"0.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert set(sent) == {"1.weight", "1.bias"} | body
    assert told.model == learners[0].current().digest.hex()
    # What nobody sends stays the same to the bit.
    assert all(torch.equal(it.model[0][0].weight, learners[0].model[0][0].weight) for it in learners)
    names = {"1.weight", "1.bias"}
    assert make(first, parameters=names | body).current() == make(first).current()
    with pytest.raises(ModelError, match="belong to another model"):
        make(first, seed=2).accept(learners[0].current())
    with pytest.raises(ModelError, match="belong to another model"):
        learners[0].accept(arrays.save(sent))
    whole = make(first, parameters=None, frozen=False)
    with pytest.raises(ModelError, match="another model"):
        whole.accept(learners[0].current())
    for parameters, frozen, why in (
        ({"2.weight"}, True, "the model has no"),
        (names, False, "would be trained and not shared"),
        (names, True, "change in training without a gradient"),
        ("adapters", True, "names themselves"),
        ([], True, "nothing that is trained"),
    ):
        with pytest.raises(ValueError, match=why):
            make(first, parameters=parameters, frozen=frozen)
    with pytest.raises(ValueError, match="one batch or more"):
        make(first, accumulate=0)
    with pytest.raises(ValueError, match="do not go together"):
        make(first, accumulate=2, privacy={"noise_multiplier": 1.0, "max_grad_norm": 1.0})


def test_batches_are_accumulated_and_the_learning_rate_is_scheduled_afresh_for_each_proposal() -> None:
    torch = need("torch")
    from colearn_client import TorchLearner

    ((x, y), *_), *_ = list(shares(1))
    rows = list(zip(torch.tensor(x, dtype=torch.float32), torch.tensor(y), strict=True))

    def proposed(size, accumulate, gamma=None):
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(4, 2)).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = gamma and torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma)
        loader = [(x.double(), y) for x, y in torch.utils.data.DataLoader(rows, batch_size=size)]
        more = {"accumulate": accumulate, "scheduler": scheduler}
        learner = TorchLearner(model, optimizer, loader, loader, **more)
        first, second = (arrays.load(learner.propose().weights) for _ in range(2))
        assert all((first[name] == second[name]).all() for name in first)
        return first["0.weight"]

    whole = proposed(40, 1)
    assert np.allclose(proposed(10, 4), whole, atol=1e-12)
    assert not np.allclose(proposed(10, 1), whole, atol=1e-4)
    # With a rate of nothing behind the first step there is only the first step.
    assert not np.allclose(proposed(40, 1, gamma=1e-12), whole, atol=1e-4)


def test_a_tensor_of_two_names_is_shared_under_both_and_other_buffers_belong_to_the_rest() -> None:
    torch = need("torch")
    from colearn_client import TorchLearner

    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.frozen = torch.nn.Linear(4, 3).requires_grad_(False)
            self.a, self.b = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
            self.b.weight = self.a.weight
            # As layers of few bits have them: the model itself.
            self.register_buffer("table", torch.arange(6))

        def forward(self, x):
            return self.b(self.a(self.frozen(x)))

    def make(parameters="trainable"):
        model = Tied()
        trained = [it for it in model.parameters() if it.requires_grad]
        x, y = torch.randn(8, 4), torch.arange(8) % 3
        return TorchLearner(
            model, torch.optim.SGD(trained, lr=1.0), [(x, y)], [(x, y)], parameters=parameters
        )

    learner = make()
    assert set(arrays.load(learner.current())) == {"a.weight", "a.bias", "b.weight", "b.bias"}
    assert make({"a.bias", "b.weight", "b.bias"}).current() == learner.current()
    # What training changed under one name has not changed the rest.
    proposal = learner.propose()
    learner.accept(proposal.weights)
    again = make()
    again.model.load_state_dict(learner.model.state_dict())
    again.accept(proposal.weights)
    other = make()
    other.model.table += 1
    with pytest.raises(ModelError, match="belong to another model"):
        other.accept(proposal.weights)


def test_private_training_of_torch_refuses_what_no_noise_hides() -> None:
    torch = need("torch")
    need("opacus")
    from colearn_client import TorchLearner

    x, y = torch.randn(60, 4), torch.arange(60) % 2

    def make(*layers, criterion=None, labels=y, loss=None, size=20, **more):
        model = torch.nn.Sequential(*layers, torch.nn.Linear(4, 2))
        data = torch.utils.data.TensorDataset(x, labels)
        loader = torch.utils.data.DataLoader(data, batch_size=size)
        optimizer = torch.optim.SGD([it for it in model.parameters() if it.requires_grad], lr=0.1)
        privacy = {"noise_multiplier": 1.0, "max_grad_norm": 1.0}
        more = {"criterion": criterion, "loss": loss, "privacy": privacy, **more}
        return TorchLearner(model, optimizer, loader, loader, **more)

    # Without a gradient, so that Opacus does not see them.
    frozen = torch.nn.BatchNorm1d(4).requires_grad_(False)
    for layer in (frozen, torch.nn.BatchNorm1d(4, affine=False)):
        with pytest.raises(ValueError, match="whose statistics no noise hides"):
            make(layer)
    entropy = torch.nn.CrossEntropyLoss
    for criterion in (entropy(weight=torch.ones(2)), entropy(reduction="sum")):
        with pytest.raises(ValueError, match="mean over the rows"):
            make(criterion=criterion)
    passed_over = torch.where(torch.arange(60) < 30, -100, y)
    with pytest.raises(ModelError, match="one label for each row"):
        make(labels=passed_over).propose()

    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("most", torch.zeros(()))

        def forward(self, x):
            if self.training and len(x):
                self.most.copy_(torch.maximum(self.most, x.detach().max()))
            return x

    with pytest.raises(ModelError, match=r"the buffer .0\.most. changed"):
        make(Counting()).propose()

    class Particular(torch.nn.Module):
        def forward(self, x):
            # As views with a -1 in them do.
            assert len(x) > 0
            return x

    # Draws of no rows: each has none with a probability above a third.
    learner = make(Particular(), size=1)
    assert learner.propose().segment.steps == 60


def test_batches_of_a_transformer_are_scored_by_what_they_have() -> None:
    need("transformers")
    import torch
    from transformers import BertConfig, BertForQuestionAnswering, BertForSequenceClassification

    from colearn_client import TorchLearner

    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    words = torch.arange(60).reshape(10, 6) % 20

    def make(kind, batches, **more):
        torch.manual_seed(1)
        model = kind(BertConfig(vocab_size=20, **small, **more))
        return TorchLearner(
            model, torch.optim.SGD(model.parameters(), lr=0.1), batches, batches, batches
        )

    # A number for each row is no class: a head that is far off must not look as good as any.
    labels = torch.arange(10.0) % 5
    numbers = make(
        BertForSequenceClassification, [{"input_ids": words, "labels": labels}], num_labels=1
    )
    before = numbers.test(numbers.current()).test
    worse = arrays.load(numbers.current())
    worse = {**worse, "classifier.bias": worse["classifier.bias"] + 1000}
    assert before < 0 and numbers.test(arrays.save(worse)).test < before - 1e5
    # What has neither labels nor logits has a loss.
    spans = {"input_ids": words, "start_positions": labels.long(), "end_positions": labels.long()}
    learner = make(BertForQuestionAnswering, [spans])
    assert learner.test(learner.current()).test < 0
    # A batch without a label that counts is passed over.
    batches = [
        {"input_ids": words, "labels": torch.full((10,), -100)},
        {"input_ids": words, "labels": labels.long()},
    ]
    learner = make(BertForSequenceClassification, batches, num_labels=5)
    assert np.isfinite(learner._fine_score())


def test_a_torch_learner_refuses_what_its_numbers_cannot_hold_and_a_scheduler_that_waits() -> None:
    torch = need("torch")
    from colearn_client import TorchLearner
    from colearn_client.errors import NotFiniteError

    model = torch.nn.Linear(2, 2).half()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    learner = TorchLearner(model, optimizer, [], [])
    large = arrays.save({"weight": np.full((2, 2), 1e30, np.float32), "bias": np.zeros(2, np.float32)})
    with pytest.raises(NotFiniteError, match="cannot hold"):
        learner._load(large)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    with pytest.raises(ValueError, match="waits for scores"):
        TorchLearner(model, optimizer, [], [], scheduler=plateau)
    other = torch.optim.lr_scheduler.StepLR(torch.optim.SGD(model.parameters(), lr=0.1), 1)
    with pytest.raises(ValueError, match="another optimizer"):
        TorchLearner(model, optimizer, [], [], scheduler=other)


def test_adapters_of_a_transformer_are_what_travels() -> None:
    need("peft")
    need("transformers")
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    from colearn_client import TorchLearner

    def make(at, kind=torch.bfloat16):
        torch.manual_seed(1)
        sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16, "vocab_size": 20}
        model = GPT2LMHeadModel(GPT2Config(**sizes)).to(kind)
        model = get_peft_model(model, LoraConfig(r=4, target_modules=["c_attn"], fan_in_fan_out=True))
        trained = [it for it in model.parameters() if it.requires_grad]
        # A language of one sentence, and a batch that says so.
        words = ((torch.arange(16) + at) % 4).repeat(8, 1)
        batches = [{"input_ids": words, "labels": words}]
        optimizer = torch.optim.AdamW(trained, lr=0.05)
        return TorchLearner(
            model, optimizer, batches, batches, batches, parameters="trainable", epochs=20
        )

    learners = [make(at) for at in range(3)]
    sent = arrays.load(learners[0].current())
    assert len(sent) == 4 and all("lora" in name for name in sent)
    told = run_local(learners, rounds=4)
    # Without one class a row it is the loss that is scored.
    scores = [item.mean_test_score() for item in told.rounds if item.verdict == "accepted"]
    assert scores and -3 < max(scores) < 0 and max(scores) > learners[0].test(make(0).current()).test


def test_keras_models() -> None:
    keras = need("keras")
    from colearn_client import KerasLearner

    def make(share):
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(2, "softmax")]
        )
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return KerasLearner(model, *share, epochs=10)

    learns([make(share) for share in shares(3)], least=0.75)


def test_xgboost_adds_trees() -> None:
    need("xgboost")
    from colearn_client import XGBoostLearner

    parameters = {"objective": "binary:logistic", "max_depth": 3}
    made = [XGBoostLearner(parameters, *share, trees=3) for share in shares(3)]
    told = learns(made, least=0.8)
    accepted = sum(item.verdict == "accepted" for item in told.rounds)
    assert made[0].booster.num_boosted_rounds() == 3 * accepted
    with pytest.raises(ModelError, match="not an XGBoost model"):
        made[0].accept(Weights(b"garbage"))
