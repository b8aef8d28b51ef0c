"""One measurement: a scenario's load on one contender, and what it used meanwhile."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import Running
from bench.processes import Cores, machine_busy_s, pin, rss_kb, start, stop, user_share
from bench.scenarios import KB, Scenario
from bench.sockets import kernel_bytes

PATH = "/v1/messages"
_SAMPLE_S = 0.2
_SETTLED_CPU_S = 0.01  # in one sample: nothing is left to do
_SETTLE_TIMEOUT_S = 4.0
# Long after the head of the answer, well before a gateway may cut a client that stalls.
_STALLED_AFTER_S = 4.0
_PROBE = Scenario(
    name="probe",
    says="",
    word="mock-n100000-i2",
    connections=1,
    requests=1,
)
Row = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The load generator, the cores, and a directory for bodies."""

    load: Path
    cores: Cores
    directory: Path

    def command(self, scenario: Scenario, to: Running, *extra: str) -> list[str | Path]:
        body = self.directory / f"{scenario.name}.json"
        if not body.exists():
            body.write_bytes(scenario.body)
        command: list[str | Path] = [self.load, "-p", str(to.port), "-u", PATH, "-b", body]
        for header in to.headers:
            command += ["-H", header]
        return command + list(extra)

    def begin(self, command: list[str | Path]) -> "subprocess.Popen[str]":
        return start(
            command, core=self.cores.others, output=subprocess.PIPE, errors=subprocess.DEVNULL
        )

    def finish(self, process: "subprocess.Popen[str]") -> Row:
        output = process.communicate()[0]
        if process.returncode != 0:
            raise RuntimeError(f"the load generator ended with {process.returncode}")
        return dict(json.loads(output))


def body_hash(tools: Tools, scenario: Scenario, to: Running) -> str:
    """Hash of an answer's body, the same in 20 answers.

    Raises:
        RuntimeError: answers differ, break off, or are refused.
    """
    row = tools.finish(tools.begin(tools.command(scenario, to, "-c", "4", "-n", "20", "-V")))
    if faults := faults_of(row):
        raise RuntimeError(f"{to.name}, {scenario.name}: {faults}")
    return str(row["hash"])


def faults_of(row: Row) -> str:
    """What went wrong in a load, in words; empty where nothing did."""
    counted = ["broken", "not_200", "mismatched"]
    if not row["stalled"]:
        counted.append("unfinished")
    return ", ".join(
        [f"{row[name]} {name}" for name in counted if row[name]]
        + ([str(row["error"])] if row.get("error") else [])
    )


def measured(tools: Tools, scenario: Scenario, to: Running) -> Row:
    """Warm up, wait until nothing is left to do, load, wait again; CPU is of all that."""
    own, database = to.pids()
    pin(database, tools.cores.others)
    if scenario.warm_up:
        tools.finish(tools.begin(_load(tools, scenario, to, scenario.warm_up)))
    _settle(to)
    rss_before, busy_before, began_s = rss_kb(own), machine_busy_s(), time.monotonic()
    clocks_before = to.clocks()
    ticks_before = [user_share(pid) for pid in own]
    process = tools.begin(_load(tools, scenario, to, scenario.requests))
    rss_peak, kernel_peak = _watch(process, scenario, own)
    row = tools.finish(process)
    elapsed_s = time.monotonic() - began_s
    busy_s = machine_busy_s() - busy_before
    _settle(to)
    cpu, database_cpu = to.clocks().since(clocks_before)
    ticks = [
        (after[0] - before[0], after[1] - before[1])
        for before, after in zip(ticks_before, map(user_share, own), strict=True)
    ]
    count = int(str(row["requests"])) or 1
    user, system = sum(t[0] for t in ticks), sum(t[1] for t in ticks)
    # A stalled reader is counted once the head of its answer has come.
    streams = int(str(row["stalled"])) or scenario.connections
    ours_s = cpu + database_cpu + float(str(row["cpu_s"]))
    return row | {
        "contender": to.name,
        "scenario": scenario.name,
        "cpu_contender_s": round(cpu, 6),
        "cpu_database_s": round(database_cpu, 6),
        "cpu_us_per_request": cpu / count * 1e6,
        "cpu_ms_per_1000_events": cpu / (int(str(row["events"])) or 1) * 1e6,
        "cpu_user_share": user / ((user + system) or 1),
        "rss_before_kb": rss_before,
        "rss_peak_kb": max(rss_peak, rss_kb(own)),
        "rss_kb_per_stream": (rss_peak - rss_before) / streams,
        "kernel_kb_per_stream": kernel_peak / KB / streams,
        "machine_busy_share": busy_s / elapsed_s,
        "foreign_cores": max(0.0, busy_s - ours_s) / elapsed_s,
    }


def with_probe(tools: Tools, scenario: Scenario, to: Running) -> Row:
    """How long the events of another stream wait while such prompts come, one at a time."""
    probe = tools.begin(tools.command(_PROBE, to, "-c", "1", "-n", "1", "-t", "60"))
    try:
        time.sleep(0.3)
        one_by_one = ["-c", "1", "-n", str(scenario.requests), "-t", "20"]
        tools.finish(tools.begin(tools.command(scenario, to, *one_by_one)))
        time.sleep(0.1)
        probe.terminate()  # it prints what it has
        return tools.finish(probe)
    finally:
        stop(probe)


def _load(tools: Tools, scenario: Scenario, to: Running, requests: int) -> list[str | Path]:
    options = ["-c", str(scenario.connections), "-n", str(requests)]
    options += ["-t", str(scenario.seconds_max), "-r", str(scenario.ramp_ms)]
    return tools.command(scenario, to, *options, *(["-S"] if scenario.is_stalled else []))


def _watch(
    process: "subprocess.Popen[str]", scenario: Scenario, pids: list[int]
) -> tuple[int, int]:
    """The most of resident and kernel memory while the load runs; of readers once they stall."""
    rss_peak = kernel_peak = 0
    began_s = time.monotonic()
    # Reading the kernel's list of sockets costs the core that the load runs on.
    watches = scenario.is_stalled or scenario.ramp_ms
    while process.poll() is None and watches:
        rss_peak = max(rss_peak, rss_kb(pids))
        if scenario.is_stalled and time.monotonic() - began_s > _STALLED_AFTER_S:
            kernel_peak = max(kernel_peak, kernel_bytes(pids))
        time.sleep(_SAMPLE_S)
    return max(rss_peak, rss_kb(pids)), kernel_peak


def _settle(to: Running) -> None:
    """Wait until what was put off is done: rows to post, events to send."""
    time.sleep(to.rest_s)
    deadline_s = time.monotonic() + _SETTLE_TIMEOUT_S
    before = to.clocks()
    while to.process is not None and time.monotonic() < deadline_s:
        time.sleep(_SAMPLE_S)
        after = to.clocks()
        if after.since(before)[0] < _SETTLED_CPU_S:
            return
        before = after
