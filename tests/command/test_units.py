"""The units of systemd, without a systemd for them: their commands and settings are ones that there are."""

import re
import shlex
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from bucketline import cli, exits
from engine.config import Settings
from tests.documents import ROOT

UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))


def service(unit: Path) -> dict[str, str]:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    return dict(parser["Service"])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_a_command_of_ours_and_leaves_it_time_to_stop(unit: Path) -> None:
    found = service(unit)
    program, *words = shlex.split(found["ExecStart"])
    assert program.endswith("/bin/bucketline")
    assert cli.parse(words).command in unit.stem
    assert int(found["RestartPreventExitStatus"]) == exits.CONFIGURATION
    assert int(found["TimeoutStopSec"]) >= 60
    assert found["EnvironmentFile"] == "/etc/bucketline/environment"


def test_the_environment_has_settings_that_there_are() -> None:
    text = (ROOT / "deploy/systemd/environment").read_text()
    given = dict(re.findall(r"^#?(BUCKETLINE_[A-Z_]+)=(.*)$", text, flags=re.MULTILINE))
    settings = Settings.from_env(given)
    assert not settings.warnings
    assert str(settings.spool).startswith("/var/lib/bucketline/"), "StateDirectory of the units"


def test_systemd_can_read_them(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not here")
    for unit in UNITS:
        text = re.sub(r"/opt/bucketline/bin/bucketline", "/bin/true", unit.read_text())
        (tmp_path / unit.name.replace("@", "@1")).write_text(text)
    units = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run([program, "verify", "--man=no", *units], capture_output=True, text=True, timeout=60)
    assert not [line for line in done.stderr.splitlines() if str(tmp_path) in line], done.stderr
