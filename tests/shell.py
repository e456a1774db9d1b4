"""The shell lines of the documents as tests read them: which programs they call, and with which words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

_SEPARATORS = ";&|()<>\n"
_GRAMMAR = frozenset(("for", "while", "until", "do", "done", "then", "fi", "if", "else", "export", "eval"))
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command, those inside of `$(…)` and `<(…)` too; without comments and redirections."""
    text = re.sub(r"(^|\s)#\s.*$", r"\1", text.replace("\\\n", " "), flags=re.MULTILINE)
    text = re.sub(r"\d?>&\d", "", text)
    words: list[str] = []
    inside: list[str] = []
    redirected = False
    for word in [*_words(text), "\n"]:
        if not set(word) <= set(_SEPARATORS):
            inside += re.findall(r"\$\((.*)\)", word)
            words += [] if redirected else [word]
            redirected = False
        elif word in ("<", ">", ">>"):
            redirected = True
        else:
            yield from _command(words)
            words, redirected = [], False
    for one in inside:
        yield from commands(one)


def _words(text: str) -> Iterator[str]:
    """Words without their quotes; what separates commands, and line ends, are words of their own."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=_SEPARATORS)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    return iter(lexer)


def _command(words: list[str]) -> Iterator[list[str]]:
    """Without what the shell itself reads: assignments, and the words of its grammar."""
    while words and (words[0] in _GRAMMAR or _ASSIGNMENT.match(words[0])):
        words = [] if words[0] == "for" else words[1:]
    if words and words != ["$"]:
        yield words
