"""Walk through the main job with the official SDKs: stream, budget, ledger, event, cap.

Starts everything on free ports and in a temporary directory: `gateway serve --demo` with its
own PostgreSQL and the simulated provider, and a PostHog double. Exit status 0 only if all of it is
right.
"""

import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.demo_calls import CAP_USD, ask_whole, stream_anthropic, stream_openai
from scripts.demo_cap import check_cap
from scripts.demo_event import check_events
from scripts.demo_ledger import check_ledger, rows_of
from scripts.demo_screen import chapter, check, console, failures
from tests.fakes.background import Background
from tests.fakes.posthog import FakePostHog
from tests.fixtures.process import GatewayProcess, wait_until_gone

GONE_WITHIN_S = 3.0


@contextmanager
def everything(data_dir: Path) -> Iterator[tuple[GatewayProcess, FakePostHog]]:
    with Background(FakePostHog) as background:
        posthog = background.value
        with GatewayProcess(
            data_dir,
            "--demo",
            GATEWAY_POSTHOG_HOST=posthog.url,
            GATEWAY_POSTHOG_PROJECT_KEY="phc_demo",
        ) as gateway:
            yield gateway, posthog


def walk(gateway: GatewayProcess, posthog: FakePostHog, started_s: float) -> None:
    url, key = gateway.url, gateway.key
    check(
        f"serving on {url} after {time.monotonic() - started_s:.1f} s", gateway.ready["simulated"]
    )
    gateway.command("budget", "set", "--team", "demo", "--cap", CAP_USD, "--reason", "the demo")
    check(
        f"gateway budget set --team demo --cap {CAP_USD}, beside the running server", is_right=True
    )
    database_url = gateway.command("database", "url")["url"]

    chapter("Two SDKs, nothing but base URL and key changed")
    stream_anthropic(url, key)
    stream_openai(url, key)
    ask_whole(url, key)

    chapter("The ledger")
    rows = check_ledger(database_url)

    chapter("The event")
    check_events(posthog, rows)

    chapter("The cap, set in plain SQL")
    check_cap(url, key, database_url)

    chapter("The books")
    rows_of(database_url, 5)
    check("the log said loudly that the provider is simulated", "SIMULATED" in gateway.log)
    verified = gateway.command("ledger", "verify")
    check(f"gateway ledger verify: {verified['entries']} entries", verified["balanced"], verified)


def main() -> int:
    """Run it all; the exit status says whether all of it was right."""
    started_s = time.monotonic()
    chapter("gateway serve --demo")
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as directory:
        with everything(Path(directory) / "var") as (gateway, posthog):
            walk(gateway, posthog, started_s)
            postgres_pid = gateway.postgres_pid
            chapter("SIGTERM")
            gateway.signal(signal.SIGTERM)
            status = gateway.wait()
            check("it drains and ends with status 0", status == 0, status)
        wait_until_gone(postgres_pid, GONE_WITHIN_S)
        check("no PostgreSQL is left behind", is_right=True)
    console.print()
    seconds = time.monotonic() - started_s
    if failures:
        console.print(f"[bold red]{len(failures)} claims did not hold[/] ({seconds:.1f} s)")
        return 1
    console.print(f"[bold green]All of it is right.[/] ({seconds:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
