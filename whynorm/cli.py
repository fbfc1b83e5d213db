"""The command ``whynorm``: parses the line, calls the parts, prints one clear line for bad input (exit code 2)."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from theory.errors import InputError
from whynorm import __version__
from whynorm.commands import audit, bridge, recheck, refute, reproduce, simulate, study, sweep, verify
from whynorm.given import given_arguments

__all__ = ["app", "entry", "main"]

_INTERRUPTED = 130

app = typer.Typer(
    name="whynorm",
    help="Why does GRPO divide by the standard deviation, when does it help, and does the theory say anything about a "
    "real language model?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# Short enough for one line each in an 80-column list.
app.command("reproduce", short_help="Do all of this and write a report (1 to 2 minutes).")(reproduce.reproduce)
app.command("verify", short_help="Give every claim a verdict, with evidence.")(verify.verify)
app.command("refute", short_help="Look for counterexamples.")(refute.refute)
app.command("recheck", short_help="Replay the proofs and counterexamples of a file.")(recheck.recheck)
app.command("audit", short_help="Put the verifier to the test (2 to 3 minutes).")(audit.audit)
app.command("simulate", short_help="Run one update rule on a softmax bandit, once or often.")(simulate.simulate)
app.add_typer(sweep.app, name="sweep", short_help="Many runs from one file; killed, it resumes.")
app.add_typer(study.app, name="study", short_help="Tables and figures that follow from the claims.")
app.add_typer(bridge.app, name="bridge", short_help="Run and measure the rules on a LoRA language model.")
app.command("report", short_help="Write the report anew from a results directory.")(reproduce.report)


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
        with given_arguments(argv):
            code = app(args=argv, prog_name="whynorm", standalone_mode=False)
        # Some versions of typer turn an interrupt into this code without a word, others into Abort.
        if code == _INTERRUPTED:
            raise typer.Abort
        return code if isinstance(code, int) else 0
    except InputError as error:
        print(f"whynorm: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        reason = " ".join(str(error).split()) or "no more to be had"
        print(f"whynorm: not enough memory: {reason}; ask for a smaller problem or fewer steps", file=sys.stderr)
        return 2
    except typer.Abort:
        print("whynorm: interrupted", file=sys.stderr)
        return _INTERRUPTED
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
