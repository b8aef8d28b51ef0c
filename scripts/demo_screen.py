"""What the demo says: chapters, and claims that hold or make it fail at its end."""

import sys

from rich.console import Console
from rich.rule import Rule

console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
failures: list[str] = []


def check(claim: str, is_right: object, seen: object = None) -> None:
    """Say whether a claim holds; one that does not makes the demo fail at its end."""
    if is_right:
        console.print(f"  [green]✓[/] {claim}")
    else:
        failures.append(claim)
        console.print(f"  [bold red]✗ {claim}[/]")
        console.print(f"    seen: {seen!r}", markup=False)


def chapter(title: str) -> None:
    console.print()
    console.print(Rule(f"[bold]{title}", align="left"))
