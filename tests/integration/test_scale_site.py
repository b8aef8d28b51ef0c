"""CPU as the benchmark of scale counts it, while processes of the database come and go."""

import os
import subprocess
from contextlib import contextmanager

import pytest

from bench.processes import Cores, cpu_s
from gateway.postgres.embedded import EmbeddedPostgres
from scripts.scale.site import Site


@pytest.fixture
def site(tmp_path):
    cores = Cores(contender=0, others=0)
    return Site(server=EmbeddedPostgres(tmp_path), cores=cores, directory=tmp_path)


@contextmanager
def busy(seconds):
    """A child that passes for one of the database's, once it has used so much."""
    child = subprocess.Popen(["sh", "-c", "while :; do :; done"])
    try:
        while cpu_s(child.pid) < seconds:
            pass
        yield
    finally:
        child.kill()
        child.wait()


def test_a_process_that_ended_takes_nothing_away_from_the_others(site):
    with busy(0.3):
        before = site.clocks()
    with busy(0.1):
        own_s, database_s = site.clocks().since(before)
    assert own_s > 0
    assert database_s >= 0.1


def test_own_cpu_is_that_of_this_process_alone(site):
    with busy(0.1):
        clocks = site.clocks()
    assert set(clocks.own) == {os.getpid()}
    assert clocks.database
