"""The digits that ship with the package, splitting data in two, and strings of the Reber grammar."""
import re

import numpy as np
import pytest

import minigrad as mg
from minigrad import tasks


def test_digits_are_all_there():
    xs, labels = mg.load_digits()
    assert xs.shape == (8, 1797, 8) and xs.dtype == np.float64
    assert labels.shape == (1797,) and labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert xs.min() == 0 and xs.max() == 1
    np.testing.assert_array_equal(xs * 16, np.round(xs * 16))


def test_a_step_is_an_image_row_from_the_top():
    """The first digit is a 0 and the second a 1, as printed wherever this data set is shown."""
    xs, labels = mg.load_digits()
    assert labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert (16 * xs[:, 0]).tolist() == [
        [0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0], [0, 3, 15, 2, 0, 11, 8, 0], [0, 4, 12, 0, 0, 8, 8, 0],
        [0, 5, 8, 0, 0, 9, 8, 0], [0, 4, 11, 0, 1, 12, 7, 0], [0, 2, 14, 5, 10, 12, 0, 0], [0, 0, 6, 13, 10, 0, 0, 0]]
    assert (16 * xs[0, 1]).tolist() == [0, 0, 0, 12, 13, 5, 0, 0]
    assert not np.array_equal(xs[:, 0], xs[:, 0].T)


def test_each_call_gives_arrays_of_its_own():
    xs, labels = mg.load_digits()
    xs[:], labels[:] = 7, 7
    assert mg.load_digits()[0].max() == 1 and mg.load_digits()[1].max() == 9


def test_a_missing_file(tmp_path):
    for missing in (tmp_path / "digits.npz", str(tmp_path / "no" / "digits.npz"), tmp_path):
        with pytest.raises(FileNotFoundError, match="is missing; it is part of minigrad, so reinstall the package") as raised:
            mg.load_digits(missing)
        assert str(missing) in str(raised.value)


@pytest.mark.parametrize("damage", ["truncated", "empty", "one bit", "another file"])
def test_a_damaged_file(tmp_path, damage):
    content = bytearray(tasks.DIGITS.read_bytes())
    path = tmp_path / "digits.npz"
    if damage == "one bit":
        content[len(content) // 2] ^= 4
    path.write_bytes({"truncated": content[:-1], "empty": b"", "one bit": content, "another file": b"no digits"}[damage])
    with pytest.raises(ValueError, match=r"digits.npz is damaged \(sha256 [0-9a-f]{12}…, expected b2dab7b50172…\)"):
        mg.load_digits(path)
    path.write_bytes(tasks.DIGITS.read_bytes())
    assert mg.load_digits(str(path))[0].shape == (8, 1797, 8)


@pytest.mark.parametrize("count, held_out, held", [(1797, 0.2, 359), (10, 0.25, 2), (3, 0.5, 2), (2, 0.5, 1)])
def test_split(count, held_out, held):
    rest, part = mg.split(count, held_out, np.random.default_rng(0))
    assert len(part) == held
    assert np.array_equal(np.sort(np.concatenate([rest, part])), np.arange(count))
    assert np.all(np.diff(rest) > 0) and np.all(np.diff(part) > 0)


def test_split_is_random_and_reproducible():
    one, same, other = (mg.split(200, 0.3, np.random.default_rng(seed))[1] for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    held = np.concatenate([mg.split(20, 0.5, np.random.default_rng(seed))[1] for seed in range(500)])
    assert np.bincount(held).min() > 200 and np.bincount(held).max() < 300        # every row is held out about half the time


@pytest.mark.parametrize("count, held_out", [(10, 0.0), (10, 1.0), (10, 0.01), (10, -0.5), (10, 2), (1, 0.5), (0, 0.5)])
def test_split_with_an_empty_side(count, held_out):
    with pytest.raises(ValueError, match=f"split: held_out = {held_out} of {count} rows leaves one side empty"):
        mg.split(count, held_out, np.random.default_rng(0))


def test_split_wants_a_generator():
    with pytest.raises(TypeError, match="split: rng is 0, expected a numpy.random.Generator"):
        mg.split(10, 0.2, 0)


# The Reber grammar written once more, as a regular expression: from T, and from P, to the one E.
LOOP_OF_T, LOOP_OF_P = "TS*X(?:XT*VP(?:XT*VP)*S|XT*V(?:PXT*V)*V|S)", "PT*V(?:P(?:XT*VP)*S|PXT*V(?:PXT*V)*V|V)"
EMBEDDED = re.compile(f"B([TP])B(?:{LOOP_OF_T}|{LOOP_OF_P})E\\1E")


def test_embedded_reber_strings_are_in_the_grammar():
    rng = np.random.default_rng(0)
    strings = [tasks.embedded_reber(rng) for _ in range(2000)]
    assert all(EMBEDDED.fullmatch(string) for string in strings)
    assert min(map(len, strings)) == 9 and len(set(strings)) > 300
    assert {string[1] for string in strings} == {"T", "P"}
    steps = {pair: sum(string.count(pair) for string in strings) for pair in ("BT", "BP")}
    assert abs(steps["BT"] - steps["BP"]) < 0.1 * steps["BT"]


def test_continual_reber_is_strings_without_a_gap():
    symbols, starts, outer = tasks.continual_reber(np.random.default_rng(1), 400, 3)
    assert symbols.shape == starts.shape == outer.shape == (400, 3)
    for b in range(3):
        text = "".join(tasks.REBER_SYMBOLS[k] for k in symbols[:, b])
        begins = np.flatnonzero(starts[:, b])
        assert begins[0] == 0
        for begin, end in zip(begins, begins[1:]):
            assert EMBEDDED.fullmatch(text[begin:end])
            assert np.flatnonzero(outer[begin:end, b]).tolist() == [end - begin - 2]
    assert not np.array_equal(symbols[:, 0], symbols[:, 1])


@pytest.mark.parametrize("T", range(1, 30))
def test_a_stream_may_end_anywhere(T):
    whole = tasks.continual_reber(np.random.default_rng(2), 30, 1)
    part = tasks.continual_reber(np.random.default_rng(2), T, 1)
    assert all(np.array_equal(a[:T], b) for a, b in zip(whole, part))


def test_the_reber_strings_want_a_generator_and_sizes():
    with pytest.raises(TypeError, match="embedded_reber: rng is 0, expected a numpy.random.Generator"):
        tasks.embedded_reber(0)
    with pytest.raises(ValueError, match="continual_reber: T is 0, expected an integer of at least 1"):
        tasks.continual_reber(np.random.default_rng(0), 0, 1)
