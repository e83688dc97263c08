"""Line numbers of keys in TOML texts, also behind strings, lists and comments that look like something else."""

import pytest

from sidelane.ops.toml_lines import Keys, key_lines


@pytest.mark.parametrize(
    "value",
    [
        "1979-05-27 07:32:00", "'\\'", '"\\""', '"#"', "'''\n[x]\n''\n'''", '"""\n"" \\"""\n"""', '""""quoted""""', '"""""two"""""',
        "''''quoted''''", "'''''two'''''", '""""""', "''''''", '"" # "', "'' # '''", "[ # ]\n\n]", "[[1], ['#'], # [\n\"]\"\n]",
        "{ a = '}', b = [\n1 ] } # {", '"""a\\\n   b"""',
    ],
)  # fmt: skip
def test_keys_after_a_value_have_their_lines(value: str) -> None:
    line = 2 + value.count("\n")
    assert key_lines(f"k = {value}\nafter = 1\n[t]\nk = {value}\nlast = 2") == {
        ("k",): 1, ("after",): line, ("t",): line + 1, ("t", "k"): line + 2, ("t", "last"): 2 * line + 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b.c = 1", {("a",): 1, ("a", "b"): 1, ("a", "b", "c"): 1}),
        ('a . "b.c" = 1', {("a",): 1, ("a", "b.c"): 1}),
        ("\"\\u0061\" = 1\n'\\u0061' = 2", {("a",): 1, ("\\u0061",): 2}),
        ("# [x]\n  [ a . 'b]' ] # [c]\n\tk=1", {("a",): 2, ("a", "b]"): 2, ("a", "b]", "k"): 3}),
        ("[a.b]\n[a]\nc = 1", {("a",): 2, ("a", "b"): 1, ("a", "c"): 3}),
        ("[[a]]\nk = 1\n[[a]]\nk = 2", {("a",): 1, ("a", "k"): 2}),
        ("1 = 1\n\n-_ = 2", {("1",): 1, ("-_",): 3}),
        ("", {}),
    ],
)
def test_tables_and_keys_have_the_lines_of_their_names(text: str, expected: dict[Keys, int]) -> None:
    assert key_lines(text) == expected
