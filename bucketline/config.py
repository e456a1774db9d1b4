"""`bucketline config`: shows what is in force and where it came from, with secrets masked."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bucketline.cli import settings_for
from bucketline.configuration import configuration_for
from bucketline.effective import UNSET, Entry, file_groups, settings_entries
from bucketline.exits import FINE
from bucketline.talk import print_json
from engine.config import NAMES

WIDEST = 40
# Options of this command that stand for a setting.
_OPTIONS = {"config": "config_path", "data": "data"}


def run(arguments: argparse.Namespace) -> int:
    settings = settings_for(arguments)
    configuration = configuration_for(settings)
    given = {setting: f"--{name}" for name, setting in _OPTIONS.items() if getattr(arguments, name) is not None}
    entries = settings_entries(settings, given, os.environ)
    groups = file_groups(settings, configuration)
    if arguments.json:
        file = str(settings.config_path) if settings.config_path else None
        print_json({"settings": entries, "file": file, "tables": groups, "warnings": settings.warnings})
        return FINE
    _print("settings", entries)
    for group in groups:
        print()
        heading = f"[{group.name}]" if group.name else "plugins.toml"
        _print(heading + (f"  {group.at}" if group.at else ""), group.entries)
    return FINE


def _print(heading: str, entries: Sequence[Entry]) -> None:
    print(heading)
    rows = [_row(entry) for entry in entries]
    # One long value must not push everything else out of sight.
    widths = [min(max(len(row[column]) for row in rows), WIDEST) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print(f"  {'  '.join(cells)}".rstrip())


def _row(entry: Entry) -> tuple[str, str, str]:
    return entry.name, _shown(entry), _came_from(entry)


def _shown(entry: Entry) -> str:
    if entry.value in (None, "", []):
        return UNSET.get(NAMES.get(entry.name, ""), "-")
    return _text(entry.value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:g}"
    text = value if isinstance(value, str) else json.dumps(value)
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _came_from(entry: Entry) -> str:
    if entry.origin == "option":
        return entry.by
    if entry.origin == "environment":
        return "environment" if entry.by == entry.name else f"environment: {entry.by}"
    if entry.origin == "file":
        return Path(entry.by).name if entry.by.endswith(".toml") else f"file: {entry.by}"
    return f"default, {entry.by}" if entry.by else "default"
