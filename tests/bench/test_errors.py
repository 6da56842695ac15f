"""What a message says of a name that nothing has."""

import pytest

from bench.errors import choose_one, harmless, unknown_name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mlda", "did you mean mlad? else choose one of mlad, PCA"),
        ("MLAD ", "did you mean mlad? else choose one of mlad, PCA"),
        ("pca", "did you mean PCA? else choose one of mlad, PCA"),
        ("transformer", "choose one of mlad, PCA"),
        ("", "choose one of mlad, PCA"),
    ],
)
def test_the_nearest_name_comes_first(name, said):
    assert choose_one(name, ["mlad", "PCA"]) == said


def test_a_long_list_ends_with_what_lists_all():
    names = [f"m{number}" for number in range(40)]
    assert choose_one("x", names, listing="bench list methods", more=", or give a file").endswith(
        "m28, m29 and 10 more (`bench list methods` lists all), or give a file"
    )


def test_another_spelling_of_a_known_name_is_near_too():
    error = unknown_name("column", "Recal", ["r", "f1"], where="--sort", spelled={"recall": "r", "f1": "f1"})
    assert str(error) == "--sort: there is no column 'Recal': did you mean recall? else choose one of r, f1"


def test_a_tab_of_a_log_is_a_blank_and_what_a_terminal_obeys_is_not_shown():
    assert harmless("\tpot\tboils\x1b[31m\r") == " pot boils\ufffd[31m\ufffd"
