"""Help for people: what an option takes is FILE, N or a choice, and nothing for a switch; Typer says Python's types."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, get_args, get_origin

import typer

WORD_OF = {int: "N", float: "NUMBER", str: "TEXT", Path: "FILE"}


def put_plainly(command: Any, help_option_names: list[str]) -> None:
    """Rewrite the types and the line breaks of the help of ``command`` and of all commands below it, in place."""
    context = typer.Context(command, help_option_names=help_option_names)
    for parameter in (*command.params, command.get_help_option(context)):
        if parameter.param_type_name == "argument":
            parameter.metavar = parameter.metavar or parameter.name.upper()
            parameter.display_type_rich = lambda ctx: None  # an argument's name says it
        elif parameter.metavar is None:
            parameter.metavar = _word(parameter)
    if command.help:
        paragraphs = inspect.cleandoc(command.help).split("\n\n")
        command.help = "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)
    for below in getattr(command, "commands", {}).values():
        put_plainly(below, help_option_names)


def _word(parameter: Any) -> str | None:
    """What stands for the value of an option in its help; None where Typer's own word is right (choices)."""
    if getattr(parameter, "is_flag", False):
        return ""
    annotation = parameter.type_descriptor.annotation
    kind = get_args(annotation)[0] if get_origin(annotation) is list else annotation
    return WORD_OF.get(kind)
