"""Scorers that are other programs: persistent ones, one-shot ones, and services over HTTP."""

from .file_program import FileProgram
from .over_http import HTTPObjective
from .program import ExternalProgram
from .protocol import ProtocolError
from .serving import serve

__all__ = ["ExternalProgram", "FileProgram", "HTTPObjective", "ProtocolError", "serve"]
