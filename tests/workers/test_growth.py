"""How many workers are added, by what the tasks before took."""

from __future__ import annotations

from fastindex.workers.growth import MEASURED_SECONDS, Growth


def test_workers_that_compute_stay_as_many_until_they_wait():
    growth = Growth(10)
    assert growth.count_more(2, 1, 0.9) == 0
    assert growth.count_more(2, 9, 0.9) == 8  # 12 would keep two CPUs busy


def test_no_more_are_added_than_keep_the_cpus_busy():
    assert Growth(100).count_more(2, 10, 2.5) == 6


def test_nothing_is_concluded_from_a_moment():
    growth = Growth(10)
    assert growth.count_more(4, MEASURED_SECONDS * 3, 0.001) == 0
    assert growth.count_more(4, MEASURED_SECONDS, 0.001) == 6


def test_a_clock_that_counts_no_moments_of_a_cpu_says_that_workers_wait():
    assert Growth(10).count_more(2, 1, 0) == 8


def test_it_is_said_once():
    growth = Growth(10)
    assert growth.count_more(2, 9, 1) == 8
    assert growth.count_more(2, 99, 1) == 0


def test_workers_that_somebody_counted_stay_as_many():
    assert Growth(2).count_more(2, 9, 1) == 0
