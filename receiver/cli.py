"""The `hookledger` command: the outermost layer, which puts the program together."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from receiver import __version__

# Where each command lives. Imported when called, so that `hookledger show` does not pay for a web server.
COMMANDS = {
    "advise": "receiver.commands.advise:advise",
    "attention": "receiver.commands.attention:attention",
    "audit": "reconciler.chore_commands:audit_command",
    "backfill": "reconciler.chore_commands:backfill_command",
    "db": "receiver.commands.db:db",
    "deliveries": "receiver.commands.deliveries:deliveries",
    "demo": "reconciler.demo.command:demo",
    "doctor": "reconciler.doctor:doctor",
    "forget": "receiver.commands.retention:forget",
    "import": "receiver.commands.archives:import_archive",
    "incident": "receiver.commands.advise:incident",
    "list": "receiver.commands.ask:list_workflows",
    "prune": "receiver.commands.retention:prune",
    "reconcile": "reconciler.cli:reconcile",
    "recopy": "receiver.commands.recopy:recopy",
    "refetch": "reconciler.cli:refetch",
    "replay": "receiver.commands.replay:replay",
    "sandbox": "receiver.sandbox.command:sandbox",
    "serve": "receiver.commands.serve:serve",
    "show": "receiver.commands.ask:show",
    "token": "receiver.commands.token:token",
    "track": "receiver.commands.track:track",
    "url": "receiver.commands.track:url",
    "verify": "receiver.commands.archives:verify",
}


class _Lazy(click.Group):
    """A group whose commands are imported when one of them is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; who puts --config behind it, as with most programs, hears where it goes."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            if error.option_name != "--config":
                raise
            raise click.UsageError("--config goes before the command: hookledger --config FILE …", error.ctx) from None

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hookledger")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration file; else what HOOKLEDGER_CONFIG names, else hookledger.toml in this folder.",
)
@click.pass_context
def main(ctx: click.Context, config_path: Path | None) -> None:
    """The one place that knows the truth about your generative-media workflows."""
    ctx.obj = config_path
