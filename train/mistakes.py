"""A user's mistakes on the command line: one message, the nearest names, exit code 2."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from ..agents import AGENTS
from ..agents.assembled import keywords_of
from .supervised.loading import known_learners

# Parameters of agents that are no options of the command line.
AGENT_SKIPS = {
    *("env", "seed", "verbose", "tensorboard_log", "stats_window_size", "_init_setup_model"),
}
LEARNER_SKIPS = {"vocabulary", "seed", "max_length"}  # the task's, and the run's


class HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Jsonargparse's help, with descriptions as they are written."""


class Parser(ArgumentParser):
    """A parser whose errors are short and name what was probably meant."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, formatter_class=HelpFormatter, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error, the nearest option, and where the help is; exit with 2."""
        fail(_explain(message, self), hint=f"see: {self.prog} --help".replace(" [options]", ""))


def fail(message: str, hint: str = "") -> NoReturn:
    """Print an error and exit with 2."""
    print(f"error: {message}" + (f"\n{hint}" if hint else ""), file=sys.stderr)
    sys.exit(2)


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning."""
    print(f"warning: {message}", file=sys.stderr)


def _explain(message: str, parser: ArgumentParser) -> str:
    """Jsonargparse's message in a line or two, with the nearest names for a misspelt one."""
    commands = _commands(parser)
    if message.startswith('expected "command"'):
        return f"expected a command: {', '.join(commands)}"
    if found := re.match(r"Subcommand '([^']+)'", message):
        parser = commands[found.group(1)]
    known = [option for action in parser._actions for option in action.option_strings]
    if found := re.search(r"unrecognized arguments: (.*)", message):
        wrong = found.group(1).split()[0].partition("=")[0]
        return f"unknown option {wrong}{_nearest(wrong, known)}"
    if found := re.search(r"Option '([^']+)' is not accepted", message):
        kinds: list[type] = [*AGENTS.values(), *known_learners().values()]
        wrong = found.group(1)
        names = {name for each in kinds for name in keywords_of(each)}
        names -= AGENT_SKIPS | LEARNER_SKIPS
        where = f" in {m.group(1)}" if (m := re.search(r'Parser key "([^"]+)"', message)) else ""
        owners = [each.__name__ for each in kinds if wrong in names.intersection(keywords_of(each))]
        hint = f"; {' and '.join(owners)} have it" if owners else _nearest(wrong, names)
        return f"unknown option {wrong!r}{where}{hint}"
    if found := re.search(
        r"""(?:Key|No action for key|does not accept option) ['"]([^'"]+)['"]""", message
    ):
        wrong = found.group(1)
        return f"unknown option {wrong!r}{_nearest(wrong, [k.lstrip('-') for k in known])}"
    for kind, classes in (("agent", list(AGENTS)), ("learner", list(known_learners()))):
        pattern = rf'Parser key "{kind}":.*Given value: (\S+)\s*$'
        if found := re.search(pattern, message, re.DOTALL):
            wrong = found.group(1)
            known_ones = f"; there are {', '.join(classes)}, and your own as module.Class"
            return f"unknown {kind} {wrong!r}{_nearest(wrong, classes) or known_ones}"
    if found := re.search(r"invalid choice: '([^']+)' \(choose from (.*)\)", message):
        choices = re.findall(r"\w+", found.group(2))
        return f"unknown command {found.group(1)!r}{_nearest(found.group(1), choices)}"
    return message


def _commands(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    """The parsers of its commands."""
    found = [a.choices for a in parser._actions if isinstance(a.choices, Mapping)]
    return dict(found[0]) if found else {}


def _nearest(name: str, known: Iterable[str]) -> str:
    by_form = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_form, n=3, cutoff=0.5)
    near = [by_form[each] for each in near]
    return f"; did you mean {' or '.join(near)}?" if near else ""
