"""``hpc/simulate.py`` against cases that can be solved on paper."""

from __future__ import annotations

import heapq
import json
import math
from pathlib import Path

import numpy as np
import pytest
import simulate
from helpers import fake_study
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation import times
from simulation.cluster import Cluster, Launcher, Spent
from simulation.modes import MODES, EndlessError, Simulation

from ensemble_mtl.analysis import summary_file
from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.launch.base import make_shards
from ensemble_mtl.study.plan import Member


def members(count: int) -> list[Member]:
    """Of three subsets, as a plan orders them."""
    groups = [times.lognormal(subset, 1.0, 0.1) for subset in (("H", "C"), ("H",), ("C",))]
    return times.plan(groups, count)


def course(
    mode: str, cluster: Cluster, seconds: list[float], *, launcher: Launcher | None = None, seed: int = 0
) -> tuple[float, Spent]:
    """Makespan and account of one random course."""
    simulation = Simulation(
        cluster, launcher or Launcher(), members(len(seconds)), np.array(seconds), np.random.default_rng(seed)
    )
    return MODES[mode](simulation), simulation.spent


def list_schedule(lengths: list[float], workers: int) -> float:
    """Makespan if each job in turn goes to the worker that is free first."""
    free = [0.0] * workers
    for length in lengths:
        heapq.heapreplace(free, free[0] + length)
    return max(free)


@pytest.mark.parametrize("mode", ["local", "mpi", "ray"])
@pytest.mark.parametrize(("count", "workers"), [(84, 2), (84, 5), (1000, 16), (3, 8)])
def test_without_failures_it_is_list_scheduling_of_the_real_shards(mode: str, count: int, workers: int) -> None:
    seconds = np.random.default_rng(1).lognormal(3, 1, count).tolist()
    shards = make_shards(members(count), 12, workers)
    lengths = [sum(seconds[int(member.id)] for member in shard.members) for shard in shards]
    makespan, spent = course(mode, Cluster(workers, gpus_per_node=workers), seconds)
    assert makespan == pytest.approx(list_schedule(lengths, workers))
    assert spent.allocated == pytest.approx(makespan * workers)
    assert spent.lost == spent.overhead == 0


def test_local_launchers_on_nodes_of_their_own_do_not_help_each_other() -> None:
    cluster = Cluster(8, gpus_per_node=2)
    parts = [make_shards(members(200), 12, 4)[k::4] for k in range(4)]
    apart, together = 0.0, 0.0
    for seed in range(10):  # one draw may favour either
        seconds = np.random.default_rng(seed).lognormal(3, 1, 200).tolist()
        expected = []
        for part in parts:
            shards = make_shards([member for shard in part for member in shard.members], 12, 2)
            expected.append(list_schedule([sum(seconds[int(m.id)] for m in shard.members) for shard in shards], 2))
        assert course("local", cluster, seconds)[0] == pytest.approx(max(expected))
        apart += max(expected)
        together += course("mpi", cluster, seconds)[0]
    assert together < apart


def test_array_charges_each_element_for_its_own_time_only() -> None:
    seconds = [10.0] * 48  # 16 per subset: 12 shards of four
    makespan, spent = course("array", Cluster(5), seconds)
    assert makespan == pytest.approx(120.0)  # parts of 3, 3, 2, 2, 2 shards of 40 s
    assert spent.allocated == spent.useful == pytest.approx(480.0)
    assert spent.jobs == 5


def test_lead_hands_out_one_shard_after_another() -> None:
    makespan, spent = course(
        "ray", Cluster(4, shard_start=2.0), [10.0] * 12, launcher=Launcher(start=7.0, hand_out=0.5, latency=0.25)
    )
    assert makespan == pytest.approx(7 + 3 * 0.5 + 0.25 + 2 + 40)  # three shards of four members
    assert spent.overhead == pytest.approx(4 * 7 + 3 * 2)


@pytest.mark.parametrize(("needed", "checkpoints"), [(60.0, 0), (61.0, 1), (120.0, 1), (600.0, 9)])
def test_checkpoints_cost_their_time(needed: float, checkpoints: int) -> None:
    cluster = Cluster(1, checkpoint_every=60.0, checkpoint_cost=3.0, epochs=int(needed))
    assert course("mpi", cluster, [needed])[0] == pytest.approx(needed + 3 * checkpoints)


def test_checkpoint_waits_for_the_end_of_its_epoch() -> None:
    cluster = Cluster(1, checkpoint_every=60.0, checkpoint_cost=1.0, epochs=10)
    # epochs of 50 s: due after 60 s, taken after 100
    assert course("mpi", cluster, [500.0])[0] == pytest.approx(500 + 4)


def repeated(mode: str, cluster: Cluster, seconds: list[float], courses: int = 3000) -> tuple[list[float], list[float]]:
    """Return the makespans and lost GPU-seconds of many courses."""
    results = [course(mode, cluster, seconds, seed=seed) for seed in range(courses)]
    return [makespan for makespan, _ in results], [spent.lost for _, spent in results]


def assert_mean(values: list[float], expected: float) -> None:
    """Within three standard errors."""
    sem = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    assert abs(float(np.mean(values)) - expected) < 3 * sem
    assert sem < 0.05 * expected  # or the test would accept anything


def expected_losses(segment: float, rate: float) -> float:
    """Seconds lost until one segment survives: number of failures × mean of an exponential that is < segment."""
    failures = math.expm1(rate * segment)
    return failures * (1 / rate - segment / failures)


@pytest.mark.parametrize("mode", ["local", "mpi", "ray", "array"])
def test_lost_work_of_one_worker_with_exponential_failures(mode: str) -> None:
    # ten segments of 50 s between checkpoints, on a node that fails every 80 s
    cluster = Cluster(1, mtbf=80.0, repair=0.0, checkpoint_every=50.0, epochs=100)
    lost = expected_losses(50.0, 1 / 80)
    makespans, losses = repeated(mode, cluster, [500.0])
    assert_mean(losses, 10 * lost)
    assert_mean(makespans, 10 * (50.0 + lost))


def test_makespan_with_repairs_and_checkpoint_costs() -> None:
    # Daly 2006: each segment takes (1/rate + repair)(exp(rate (segment + cost)) - 1); the last has no checkpoint
    cluster = Cluster(1, mtbf=100.0, repair=20.0, checkpoint_every=50.0, checkpoint_cost=5.0, epochs=100)
    makespans, _ = repeated("local", cluster, [500.0])
    assert_mean(makespans, 120.0 * (9 * math.expm1(55 / 100) + math.expm1(50 / 100)))


def test_mpi_pays_a_failure_with_all_ranks_and_the_queue() -> None:
    # six shards of 400 s on eight ranks, no checkpoint: everything from the start at every failure
    cluster = Cluster(8, gpus_per_node=1, mtbf=1600.0, queue_wait=30.0, checkpoint_every=math.inf)
    assert [len(shard.members) for shard in make_shards(members(24), 12, 8)] == [4] * 6
    rate, length = 8 / 1600, 400.0
    makespans, losses = repeated("mpi", cluster, [100.0] * 24)
    assert_mean(makespans, 30.0 + (1 / rate + 30.0) * math.expm1(rate * length))
    assert_mean(losses, 6 * expected_losses(length, rate))


def test_ray_loses_only_the_shards_of_the_node() -> None:
    cluster = Cluster(16, gpus_per_node=2, mtbf=3000.0, repair=0.0, checkpoint_every=50.0)
    seconds = [20.0] * 1200
    lost = {mode: np.mean([course(mode, cluster, seconds, seed=seed)[1].lost for seed in range(20)]) for mode in MODES}
    assert lost["ray"] < lost["mpi"] / 3


def test_time_limit_loses_nothing_but_the_epoch_that_is_not_begun() -> None:
    # epochs of 10 s in jobs of 105 s: nine are begun, as the tenth might not end
    cluster = Cluster(1, time_limit=105.0, checkpoint_every=1e9, epochs=45)
    makespan, spent = course("mpi", cluster, [450.0])
    assert spent.lost == 0
    assert spent.jobs == 5
    assert makespan == pytest.approx(4 * 105.0 + 450 - 4 * 100)  # 105 - 2 s leave room for ten


def test_no_progress_is_reported() -> None:
    with pytest.raises(EndlessError, match="1000 jobs"):
        course("mpi", Cluster(1, time_limit=5.0, epochs=1), [10.0])
    with pytest.raises(EndlessError, match="1000 failures"):
        course("local", Cluster(1, mtbf=1.0, repair=0.0, checkpoint_every=1000.0), [1000.0])


CLUSTERS = st.builds(
    Cluster,
    gpus=st.integers(1, 9),
    gpus_per_node=st.integers(1, 4),
    mtbf=st.sampled_from([math.inf, 3000.0, 300.0]),
    repair=st.floats(0, 100),
    queue_wait=st.sampled_from([0.0, 60.0]),
    time_limit=st.sampled_from([math.inf, 400.0]),
    checkpoint_every=st.floats(1, 60),
    checkpoint_cost=st.floats(0, 0.3),
    shard_start=st.floats(0, 2),
    epochs=st.integers(20, 200),
    members_per_shard=st.integers(1, 12),
)


@pytest.mark.parametrize("mode", list(MODES))
@settings(max_examples=60)
@given(cluster=CLUSTERS, count=st.integers(1, 60), seed=st.integers(0, 1000))
def test_nothing_is_gained_or_forgotten(mode: str, cluster: Cluster, count: int, seed: int) -> None:
    seconds = np.random.default_rng(seed).lognormal(1, 1, count).tolist()
    makespan, spent = course(mode, cluster, seconds, launcher=Launcher(3.0, 0.01), seed=seed)
    assert spent.finished == [1] * count
    assert spent.useful == pytest.approx(sum(seconds))
    assert min(spent.lost, spent.overhead) >= 0
    assert spent.idle >= -1e-9 * spent.allocated
    assert 0 < spent.efficiency <= 1 + 1e-12
    assert spent.allocated <= makespan * cluster.gpus * (1 + 1e-12)
    if cluster.mtbf == math.inf:
        assert spent.lost == spent.failures == 0


def test_same_seed_same_table(capsys: pytest.CaptureFixture[str]) -> None:
    def table(*arguments: str) -> str:
        assert simulate.main(["--mtbf-hours", "2", "--queue-minutes", "5", *arguments]) == 0
        return capsys.readouterr().out

    assert table("--seed", "3") == table("--seed", "3") != table("--seed", "4")
    assert json.loads(table("--json", "--launcher", "ray"))["launchers"]["ray"]["failures"]["mean"] > 0


def test_times_of_a_study_are_drawn_per_subset(tmp_path: Path) -> None:
    for subset, seconds in {"HM": 3.0, "H": 1.0}.items():
        folder = tmp_path / "members" / subset / "a"
        folder.mkdir(parents=True)
        record = {"member": {"subset": list(subset)}, "train_seconds": seconds, "probes": [{"seconds": 0.5}]}
        (folder / "result.json").write_text(json.dumps(record))
    groups = times.of_study(tmp_path)
    assert [member.subset for member in times.plan(groups, 4)] == [("H", "M")] * 2 + [("H",)] * 2
    assert times.seconds(groups, 4, np.random.default_rng(0)).tolist() == [3.5, 3.5, 1.5, 1.5]


def test_times_of_a_summary_have_its_mean_and_deviation(tmp_path: Path) -> None:
    study = fake_study.make_study(tmp_path / "study", seeds=2)
    for member in study.plan():
        fake_study.finish(study, member, train_seconds=10.0 * len(member.subset) + member.seed)
    summary_file.write_summary(study, gather(study))
    (tmp_path / "alone").mkdir()
    (study.root / "summary.json").rename(tmp_path / "alone/summary.json")
    groups = times.of_study(tmp_path / "alone")
    assert [len(group.subset) for group in groups] == [3, 2, 2, 2, 1, 1, 1]
    drawn = groups[0].draw(np.random.default_rng(0), 10_000)
    # two stacks of 30 and 31 s; four standard errors of a mean of 10,000
    assert drawn.mean() == pytest.approx(30.5, abs=4 * 0.5**0.5 / 100)
    (tmp_path / "alone/summary.json").write_text("{}")
    with pytest.raises(times.TimesError, match="not a summary of version 2"):
        times.of_study(tmp_path / "alone")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--study", "/nowhere"], "/nowhere: neither"),
        (["--gpus", "0"], "gpus: got 0"),
        (["--mtbf-hours", "0"], "mtbf: got 0.0"),
        (["--scale", "nan"], "--scale: got nan"),
        (["--times", "H=5"], "expected 2 numbers"),
        (["--costs", "pbs=1,1,1"], "got launcher 'pbs'"),
        (["--lognormal=-1,2"], "expected positive times"),
    ],
)
def test_mistakes_are_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        simulate.main(arguments)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_largest_study() -> None:
    cluster = Cluster(10_000, mtbf=3600.0 * 5000)
    seconds = np.random.default_rng(0).lognormal(6, 0.3, 100_000)
    simulation = Simulation(cluster, Launcher(), members(100_000), seconds, np.random.default_rng(0))
    MODES["ray"](simulation)
    assert simulation.spent.finished == [1] * 100_000
