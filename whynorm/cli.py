"""The command ``whynorm``: parses the line, calls the parts, prints one clear line for bad input (exit code 2)."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from theory.errors import InputError
from whynorm import __version__
from whynorm.commands import bridge, reproduce, simulate, verify

__all__ = ["app", "main"]

app = typer.Typer(
    name="whynorm",
    help="Why does GRPO divide by the standard deviation, when does it help, and does the theory say anything about a "
    "real language model?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("reproduce")(reproduce.reproduce)
app.command("verify")(verify.verify)
app.command("recheck")(verify.recheck)
app.command("simulate")(simulate.simulate)
app.add_typer(bridge.app, name="bridge")
app.command("report")(reproduce.report)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    # Every way of misusing the command line derives from this base, wherever typer keeps its copy of click.
    usage_error = typer.BadParameter.__base__
    assert usage_error is not None
    try:
        code = app(args=argv, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except InputError as error:
        print(f"whynorm: {error}", file=sys.stderr)
        return 2
    except typer.Abort:
        print("whynorm: interrupted", file=sys.stderr)
        return 130
    except BaseException as error:
        if not isinstance(error, usage_error):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error)
            return 2
        context = getattr(error, "ctx", None)
        hint = f"; see `{context.command_path} --help`" if context is not None else ""
        message = " ".join(str(getattr(error, "format_message", error.__str__)()).split()).rstrip(".")
        print(f"whynorm: {message}{hint}", file=sys.stderr)
        return 2


def entry() -> None:
    """What the installed command runs."""
    sys.exit(main())
