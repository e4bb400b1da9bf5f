"""Every labelled equation of the book has a test that names it, and no test names one that is gone."""

import equation_ledger as ledger
import pytest

PAGE = "Some text.\n\n$$\na = b\n$$ (eq-one)\n\nSee {eq}`eq-one`.\n\n$$\nc = d\n$$ (eq-two)\n"
TESTS = """
import pytest

@pytest.mark.equation("eq-one", "eq-two")
def test_both():
    assert True
"""


def test_every_equation_has_a_test_and_every_test_its_equation():
    assert not ledger.problems()
    assert len(ledger.labels()) >= 50


def book(folder, page=PAGE, tests=TESTS):
    """A tiny book, with one page and one file of tests."""
    for place, text in (("book/page.md", page), ("tests/test_page.py", tests)):
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text(text, encoding="utf-8")
    return folder


def test_a_whole_ledger_has_no_problems(tmp_path):
    assert not ledger.problems(book(tmp_path))
    assert [entry.label for entry in ledger.ledger(tmp_path)] == ["eq-one", "eq-two"]


@pytest.mark.parametrize("page, tests, problem", [
    (PAGE + "\n$$\ne = f\n$$ (eq-three)\n", TESTS, "book/page.md: no test is marked with eq-three"),
    (PAGE.replace("(eq-two)", ""), TESTS, "test_page.py::test_both: no equation of the book has the label eq-two"),
    (PAGE.replace("(eq-two)", "(eq-one)"), TESTS.replace(', "eq-two"', ""), "eq-one labels two equations: book/page.md, book/page.md"),
    (PAGE, TESTS.replace('"eq-two"', '"eq-two", code="minigrad.cells.NoSuchCell"'), "eq-one: there is no minigrad.cells.NoSuchCell"),
], ids=["no test", "no equation", "twice", "no code"])
def test_each_gap_is_named(tmp_path, page, tests, problem):
    assert problem in ledger.problems(book(tmp_path, page, tests))


def test_marks_under_another_name_are_found(tmp_path):
    tests = 'import pytest\nequation = pytest.mark.equation\n\n@equation("eq-one")\n@equation("eq-two")\ndef test_both():\n    assert True\n'
    assert not ledger.problems(book(tmp_path, PAGE, tests))
