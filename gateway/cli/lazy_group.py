"""The root group, whose commands are imported when they are asked for: reports need no server."""

import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import ClassVar

import click
from typing_extensions import override


class LazyGroup(click.Group):
    """A group that knows where its commands are; `places` maps a name to `module:attribute`."""

    places: ClassVar[Mapping[str, str]] = {}

    unlisted: ClassVar[frozenset[str]] = frozenset()
    """Those of them that are not for people."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return self._visible()

    def _visible(self) -> list[str]:
        return [name for name in self.places if name not in self.unlisted]

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self.places.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command: object = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            ctx.fail(f"say which command: {'|'.join(self._visible())}.")
        return super().parse_args(ctx, args)

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.places:
            nearest = difflib.get_close_matches(args[0], self._visible(), n=1, cutoff=0.0)
            ctx.fail(f"there is no command {args[0]!r}; did you mean {nearest[0]}?")
        return super().resolve_command(ctx, args)
