"""Keys and names: what may be used is kept byte for byte, and nothing else gets through."""

from __future__ import annotations

import posixpath
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine import keys

JOB = "01940c9e-0000-7000-8000-000000000001"
NOON = 1_795_435_200_000  # 2026-11-23T12:00:00Z
any_text = st.text(st.characters(), max_size=300)
pieces = [*"ab./\\:{}$*?#% ~", "..", "::", "\0", "\n", "ä", "e\u0301", "\u202e", "\ud800"]
strange_text = st.lists(st.sampled_from(pieces), max_size=12).map("".join)


# -- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "empty"),
        ("..", "climb"),
        (".", "climb"),
        ("../../etc/passwd", "climb"),
        ("a/../b", "climb"),
        ("a/./b", "climb"),
        ("a/..", "climb"),
        ("/etc/passwd", "slash"),
        ("a/", "slash"),
        ("/", "slash"),
        ("a//b", "empty segments"),
        ("s3://other/x", "empty segments"),
        ("file:///etc/x", "empty segments"),
        ("zip::inner", "chains"),
        ("a\\b", "backslash"),
        ("..\\..\\x", "backslash"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\r\nX-Injected: 1", "control"),
        ("a\x7f", "control"),
        ("a\x85b", "control"),
        ("a\u2028b", "control"),
        ("a\u2029b", "control"),
        ("a\ud800", "Unicode"),
        ("k" * 1025, "1024 bytes"),
        ("ä" * 513, "1024 bytes"),
    ],
)
def test_a_hostile_key_is_refused_and_told_why(key: str, why: str) -> None:
    fault = keys.fault_of_key(key)

    assert fault is not None
    assert why in fault


@pytest.mark.parametrize(
    "key",
    [
        "a",
        "2026/11/holiday.mp4",
        "k" * 1024,
        "ä" * 512,
        "...",
        "a/.../b",
        ".hidden/.x",
        "%2e%2e%2f",
        "a b?c#d&e=f",
        "$HOME/${X}/*/~",
        "{id}/{name}",
        "写真/ö/é",
        "CON",
        "evil\u202egnp.exe",
        "a:b",
    ],
)
def test_an_unusual_key_is_a_key(key: str) -> None:
    assert keys.fault_of_key(key) is None


@given(key=any_text | strange_text)
def test_what_passes_stays_below_its_folder_and_is_one_line(key: str) -> None:
    assume(keys.fault_of_key(key) is None)

    assert posixpath.normpath(f"/root/{key}") == f"/root/{key}"
    assert len(key.encode()) <= 1024
    assert key.splitlines() == [key]


@given(key=st.lists(st.text(string.ascii_letters + string.digits + "-_. ", min_size=3, max_size=20), min_size=1))
def test_plain_keys_pass(key: list[str]) -> None:
    assume(not {".", ".."} & set(key) and len("/".join(key)) <= 1024)

    assert keys.fault_of_key("/".join(key)) is None


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [".", "..", "a/b", "a\\b", "../../etc/passwd", "a\0", "a\r\nb", "n" * 256, "ä" * 128, "a\ud800", "a\x9f"]
)
def test_a_hostile_name_is_refused(name: str) -> None:
    assert keys.fault_of_name(name)


@pytest.mark.parametrize("name", ["holiday.mp4", "n" * 255, "фото.jpg", "写真.png", "a b;c", "CON", ".bashrc", "..."])
def test_a_name_in_any_script_is_a_name(name: str) -> None:
    assert keys.fault_of_name(name) is None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/anna/holiday.mp4", "holiday.mp4"),
        ("C:\\Users\\Anna\\holiday.mp4", "holiday.mp4"),
        ("holiday.mp4", "holiday.mp4"),
        ("folder/", "folder"),
        ("/", ""),
    ],
)
def test_the_name_in_a_path_of_any_system(path: str, name: str) -> None:
    assert keys.last_segment(path) == name


@pytest.mark.parametrize("text", ["line\nline", "a\0", "\x1b[31m", "a\ud800"])
def test_values_hold_no_control_characters(text: str) -> None:
    assert keys.fault_of_text(text)


# -- templates --------------------------------------------------------------------------------------------------------


def rendered(template: str, name: str = "holiday.tar.gz", **labels: str) -> str:
    return keys.render(
        template, job=JOB, name=name, created_ms=NOON, labels=labels, sha256="5f" * 32, crc32c="c99465aa"
    )


def test_every_field_has_its_value() -> None:
    assert rendered("{yyyy}-{mm}-{dd}") == "2026-11-23"
    assert rendered("{id}/{name}") == f"{JOB}/holiday.tar.gz"
    assert rendered("{stem}|{ext}") == "holiday.tar|gz"
    assert rendered("{sha256}") == "5f" * 32
    assert rendered("{crc32c}") == "c99465aa"
    assert rendered("{label.team}/x", team="blue") == "blue/x"


@pytest.mark.parametrize(
    ("name", "stem", "ext"), [("README", "README", ""), (".bashrc", ".bashrc", ""), ("a.b.c", "a.b", "c")]
)
def test_names_without_a_suffix(name: str, stem: str, ext: str) -> None:
    assert rendered("{stem}", name) == stem
    assert rendered("{ext}", name) == ext


@pytest.mark.parametrize(
    "template",
    ["{job.__class__}", "{name!r}", "{name:>9}", "{0}", "{}", "{__import__}", "{label.}", "{NAME}", "{name.upper}"],
)
def test_a_template_reaches_nothing_but_its_fields(template: str) -> None:
    fault = keys.fault_of_template(template, {})

    assert fault is not None
    assert "unknown field" in fault


def test_a_slip_in_a_field_gets_the_word_that_was_meant() -> None:
    assert "Did you mean {name}?" in str(keys.fault_of_template("{nmae}", {}))


def test_a_label_that_the_job_does_not_have_is_named() -> None:
    assert "no label 'team'" in str(keys.fault_of_template("{label.team}/{name}", {"color": "blue"}))
    assert keys.fault_of_template("{label.team}/{name}", {"team": "blue"}) is None


@pytest.mark.parametrize("template", ["{name", "name}", "{{name}}", "a{b{name}", "{name}}"])
def test_a_brace_without_its_partner_is_refused(template: str) -> None:
    assert keys.fault_of_template(template, {})


@given(value=any_text)
def test_a_value_is_put_in_as_it_is_and_never_read_as_a_template(value: str) -> None:
    assert rendered("<{label.x}>", x=value) == f"<{value}>"


def test_a_value_that_looks_like_a_field_stays_what_it_is() -> None:
    assert rendered("{label.x}/{name}", name="{id}", x="{sha256}") == "{sha256}/{id}"


@given(name=any_text | strange_text)
def test_the_usual_template_makes_a_key_of_every_good_name(name: str) -> None:
    assume(name and keys.fault_of_name(name) is None and "::" not in name)

    assert keys.fault_of_key(rendered(keys.DEFAULT_TEMPLATE, name)) is None


@pytest.mark.parametrize(
    ("template", "late"), [("{id}/{name}", False), ("{sha256}", True), ("x/{crc32c}.{ext}", True), ("sha256", False)]
)
def test_a_key_made_of_the_content_has_to_wait_for_it(template: str, late: bool) -> None:
    assert keys.needs_content(template) is late
