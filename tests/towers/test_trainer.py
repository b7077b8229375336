"""Training is seeded, resumable and careful."""

import math

import pytest
import torch

from components.common.settings import from_overrides
from components.towers.checkpoints import load_tensors, model_state
from components.towers.data import load_training_data
from components.towers.models.mgdspr import MGDSPR, MgdsprSettings
from components.towers.parallel import World
from components.towers.repeatable import repeatable
from components.towers.trainer import Trainer, TrainingDiverged

from .conftest import SMALL


@pytest.fixture(scope="module")
def data(shop):
    return load_training_data(shop, MGDSPR, from_overrides(MgdsprSettings, SMALL))


def make_trainer(data, folder=None, **overrides):
    settings = from_overrides(MgdsprSettings, {**SMALL, "checkpoint_seconds": "0", "mixed_negatives": "8", **overrides})
    torch.manual_seed(settings.seed)
    model = MGDSPR(settings, data.schema)
    model.prepare(data.catalogue, data.train)
    return Trainer(model, data, settings, torch.device("cpu"), folder)


def weights(trainer):
    return {name: tensor.clone() for name, tensor in model_state(trainer.model).items()}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


class Killed(Exception):
    """Stands for a kill in the middle of a training."""


def run_killed(trainer, step):
    original = trainer._step

    def dying(batch):
        if trainer.state.step == step:
            raise Killed
        return original(batch)

    trainer._step = dying
    with pytest.raises(Killed):
        trainer.run()


def test_the_same_seed_gives_the_same_towers(data):
    first, second, other = make_trainer(data), make_trainer(data), make_trainer(data, seed="4")
    for trainer in (first, second, other):
        trainer.run()
    assert_equal(weights(first), weights(second))
    assert not torch.equal(weights(first)["ids.weight"], weights(other)["ids.weight"])


def test_several_threads_add_up_in_the_same_order(data):
    def gradient():
        vectors = torch.zeros(50, 64, requires_grad=True)
        vectors[rows].backward(parts)
        return vectors.grad

    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(50, (20_000,), generator=generator)
    parts = torch.randn(20_000, 64, generator=generator)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with repeatable(torch.device("cpu")):
            first, *others = (gradient() for _ in range(10))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(first, other) for other in others)


def test_a_whole_training_is_repeatable_and_leaves_the_process_as_it_was(data):
    trainer, seen = make_trainer(data, epochs="1"), []
    step = trainer._step
    trainer._step = lambda batch: (seen.append(torch.are_deterministic_algorithms_enabled()), step(batch))[1]
    trainer.run()
    assert set(seen) == {True}
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]


@pytest.mark.parametrize(("optimiser", "step"), [("adagrad", 5), ("adagrad", 12), ("adam", 14)])
def test_a_killed_training_goes_on_to_the_same_result(data, tmp_path, optimiser, step):
    """Dropouts, drawn negatives, id dropout and interpolation included: they follow from seed and step alone."""
    whole = make_trainer(data, optimiser=optimiser, learning_rate="0.01")
    whole.run()
    run_killed(make_trainer(data, tmp_path, optimiser=optimiser, learning_rate="0.01"), step)
    resumed = make_trainer(data, tmp_path, optimiser=optimiser, learning_rate="0.01")
    state = resumed.run()
    assert_equal(weights(whole), weights(resumed))
    kept = ("step", "loss", "validation")
    assert [[p[k] for k in kept] for p in state.curve] == [[p[k] for k in kept] for p in whole.state.curve]


def test_a_resumed_training_does_not_repeat_its_steps(data, tmp_path):
    run_killed(make_trainer(data, tmp_path), 6)
    assert load_tensors(tmp_path / "state.safetensors")[1]["step"] == 6
    resumed = make_trainer(data, tmp_path)
    steps = []
    original = resumed._step
    resumed._step = lambda batch: (steps.append(resumed.state.step), original(batch))[1]
    resumed.run()
    assert steps[0] == 6


def test_it_learns(data):
    trainer = make_trainer(data, epochs="8", mixed_negatives="0")
    curve = trainer.run().curve
    assert curve[-1]["loss"] < curve[0]["loss"]
    # 10 of 120 products by chance.
    assert max(point["validation"]["recall@10"] for point in curve) > 0.3


def test_it_stops_when_recall_no_longer_grows_and_keeps_the_best_weights(data):
    trainer = make_trainer(data, learning_rate="1e-9", adagrad_initial="1", patience="2", epochs="9")
    start = weights(trainer)
    state = trainer.run()
    assert state.best_step == trainer.batches.steps
    assert len(state.curve) == 3
    assert torch.allclose(weights(trainer)["ids.weight"], start["ids.weight"], atol=1e-6)


def test_a_nan_stops_with_the_searches_of_its_batch(data):
    trainer = make_trainer(data)
    batch = trainer._batch(4)
    poisoned = set(batch.positive_rows.tolist())
    original = trainer.model.loss

    def loss(given, context):
        result = original(given, context)
        if set(given.positive_rows.tolist()) == poisoned and context.step == 4:
            return type(result)(result.total * math.nan)
        return result

    trainer.model.loss = loss
    with pytest.raises(TrainingDiverged, match="step 4") as error:
        trainer.run()
    assert str(data.train.search_ids[int(batch.example[0])]) in str(error.value)


def test_a_nan_never_reaches_a_checkpoint_though_its_flag_is_read_now_and_then(data, tmp_path):
    """On a GPU the flag is read every so many steps; a checkpoint in between must not keep the broken weights."""
    trainer = make_trainer(data, tmp_path)
    trainer._flag_steps = 1000
    original = trainer.model.loss

    def loss(given, context):
        result = original(given, context)
        return type(result)(result.total * math.nan) if context.step == 4 else result

    trainer.model.loss = loss
    with pytest.raises(TrainingDiverged, match="step 4"):
        trainer.run()
    tensors, progress = load_tensors(tmp_path / "state.safetensors")
    assert progress["step"] == 4
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())


@pytest.mark.parametrize("size", [1, 3])
def test_every_stream_of_random_numbers_of_a_step_is_its_own(data, size):
    """Dropouts, shared draws and the draws of each process: no two start alike, in any process or the next step."""
    streams = []
    for rank in range(size):
        trainer = make_trainer(data)
        trainer.processes = World(rank, size)
        for step in (4, 5):
            context, mine = trainer._context(step), []
            trainer.model.loss = lambda *_, kept=mine: (kept.append(torch.rand(3).tolist()), 1 / 0)
            trainer.state.step = step
            with pytest.raises(ZeroDivisionError):
                trainer._step(trainer._batch(step))
            streams.append(tuple(mine[0]))
            streams.append(tuple(torch.rand(3, generator=context.device_generator).tolist()))
            if rank == 0:  # all processes share this one
                streams.append(tuple(torch.rand(3, generator=context.generator).tolist()))
    assert len(set(streams)) == len(streams) == 4 * size + 2


def test_losses_of_a_resumed_training_lie_where_the_next_ones_will(data, tmp_path):
    """A checkpoint between two validations holds losses; with those of the device they make one mean."""
    run_killed(make_trainer(data, tmp_path), 5)
    resumed = make_trainer(data, tmp_path)
    resumed.device = torch.device("meta")  # stands for a GPU
    resumed._resume()
    assert len(resumed._losses) == 5
    assert {loss.device.type for loss in resumed._losses} == {"meta"}


def test_a_step_costs_memory_for_its_rows_not_for_the_table(data):
    """Gradients of the tables are sparse and hold each row once."""
    trainer = make_trainer(data)
    trainer._step(trainer._batch(0))
    tables = {name: p for name, p in trainer.model.named_parameters() if name in ("tokens.table.weight", "ids.weight")}
    assert len(tables) == 2
    for table in tables.values():
        rows = table.grad.coalesce().indices()[0]
        assert table.grad.is_sparse
        assert len(rows) == len(rows.unique()) <= len(table)


def test_row_zero_of_every_table_never_counts(data):
    """Padding, unknown and nothing share row 0: whatever training does to it, vectors don't see it."""
    trainer = make_trainer(data)
    trainer.run()
    model = trainer.model.eval()
    unseen = data.catalogue.batch(torch.arange(3))
    object.__setattr__(unseen, "ids", torch.zeros(3, dtype=torch.int64))
    with torch.no_grad():
        before = model.item(unseen)
        model.ids.weight[0] = 7.0
        assert torch.equal(before, model.item(unseen))
