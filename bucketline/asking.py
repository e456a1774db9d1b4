"""How `bucketline init` gets its answers: from options, by asking on a terminal, or by default."""

import sys
from collections.abc import Callable, Mapping

from bucketline.cli import say
from bucketline.exits import USAGE, Failure
from bucketline.places import CREDENTIALS, FIELDS, KINDS, Place, default_name, place
from bucketline.words import nearest

Faults = Callable[[Place], list[str]]


class Asker:
    """`asks`: whether there is somebody to ask. Questions go to stderr, answers come from stdin."""

    def __init__(self, asks: bool) -> None:
        self._asks = asks

    def place(self, given: Mapping[str, str], faults: Faults, *, taken: str = "", prefix: str = "") -> Place:
        """One destination that has no faults. `prefix` stands before the names of its options."""
        kind = self._kind(given.get("backend"), prefix)
        _only_what_it_takes(kind, given, prefix)
        answers, again = dict(given), False
        while True:
            answers = self._answers(kind, answers, prefix, taken, again=again)
            made = place(kind, answers, taken)
            wrong = ["both places have the same name"] if made.name == taken else faults(made)
            if not wrong:
                return made
            if not self._asks:
                raise Failure(USAGE, "these answers make no plugins.toml", *wrong)
            say("this does not fit", *wrong)
            again = True

    def _kind(self, given: str | None, prefix: str) -> str:
        if given is None and not self._asks:
            return next(iter(KINDS))
        if given is None:
            print("Where shall files go?", file=sys.stderr)
            for number, (name, kind) in enumerate(KINDS.items(), 1):
                print(f"  {number:2}  {name:7} {kind.title}", file=sys.stderr)
        while True:
            word = given if given is not None else self.ask("Number or name", "local")
            if word.isdecimal() and 1 <= int(word) <= len(KINDS) and given is None:
                return list(KINDS)[int(word) - 1]
            if word in KINDS:
                return word
            wrong = f"{word!r} is none of {', '.join(KINDS)}{nearest(word, KINDS)}"
            if given is not None:
                raise Failure(USAGE, f"--{prefix}backend: {wrong}")
            say(wrong)

    def _answers(self, kind: str, known: Mapping[str, str], prefix: str, taken: str, *, again: bool) -> dict[str, str]:
        """Every answer that the kind needs. `again`: also those that were given, as defaults."""
        found = {}
        for field in FIELDS:
            asks = {"name": default_name(kind, taken), **KINDS[kind].asks}
            if field.option not in asks:
                continue
            default = asks[field.option]
            if field.option in known and not again:
                found[field.option] = known[field.option]
            elif self._asks:
                question = field.question.format(usual=KINDS[kind].usual, example=KINDS[kind].example)
                found[field.option] = self.ask(question, known.get(field.option, default))
            elif default is None:
                raise Failure(USAGE, f"--{prefix}{field.option} is missing: {field.help}")
            else:
                found[field.option] = default
        self._check(found, prefix)
        return found

    def _check(self, answers: dict[str, str], prefix: str) -> None:
        for option, text in answers.items():
            if not text.isprintable():
                raise Failure(USAGE, f"--{prefix}{option} has a character that cannot be printed")
        how = answers.get("credentials", CREDENTIALS[0])
        if how not in CREDENTIALS:
            if not self._asks:
                wrong = f"takes {' or '.join(CREDENTIALS)}, not {how!r}{nearest(how, CREDENTIALS)}"
                raise Failure(USAGE, f"--{prefix}credentials {wrong}")
            say(f"{how!r} is none of {', '.join(CREDENTIALS)}; taken: {CREDENTIALS[0]}")
            answers["credentials"] = CREDENTIALS[0]

    def ask(self, question: str, default: str | None) -> str:
        """One answer; asked again until there is one, where there is no default."""
        while True:
            shown = f" [{default}]" if default else ""
            print(f"{question}{shown} ", end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
            if not line:
                print(file=sys.stderr)
                raise Failure(USAGE, "the answers ended; nothing was written")
            if answer := line.strip() or default or "":
                return answer
            if default is not None:
                return ""

    def yes(self, question: str, *, default: bool) -> bool:
        """A question of yes or no; the default where nobody can be asked."""
        if not self._asks:
            return default
        return self.ask(f"{question} (yes/no)", "yes" if default else "no").lower() in ("y", "yes")


def _only_what_it_takes(kind: str, given: Mapping[str, str], prefix: str) -> None:
    takes = ["name", *KINDS[kind].asks]
    for option in given:
        if option != "backend" and option not in takes:
            shown = ", ".join(f"--{prefix}{name}" for name in takes)
            raise Failure(USAGE, f"--{prefix}{option} is not for {kind}", f"it takes {shown}")
