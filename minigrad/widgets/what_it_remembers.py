"""What it remembers: the state of a trained cell while the reader types a sequence."""
from pathlib import Path

import numpy as np

from ..cells import LSTMCell
from ..checks_of_input import check_params
from ..functions import softmax
from ..train import load
from ..unroll import unroll
from . import scenes
from .touchable import text, touchable

TRAINED = Path(__file__).parents[1] / "data" / "counting_lstm.npz"       # by experiments/counting_cell.py
WORDS = ("ab", "aabb", "aaabbb", "aaaaabbbbb", "aaaaaaaabbbbbbbb", "aaaaabb", "aabbbb", "abab", "aaaaaaaaaaaaaaaaaaaaaabb",
         "aaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbb", "bbbbb")
COLORS, DASHES = ("purple", "vermillion", "green", "blue"), ("solid", "dashed", "dotted", "dashdot")


def what_it_remembers(cell=None, params=None, readout=None, alphabet="ab", words=WORDS, caption=None):
    """The state of a cell, letter by letter, and what it says comes next.

    cell, params: a cell that reads one-hot letters, input_size = len(alphabet); None: an LSTM that was trained on aⁿbⁿ
    for n = 1 to 10 (experiments/counting_cell.py). readout: {"W": (H, K + 1), "b": (K + 1,)}, the layer that says the
    next letter or the end; without it the state alone is drawn. words: what a page without a kernel offers.
    Raises TypeError or ValueError that names the argument.
    """
    if cell is None:
        if params is not None:
            raise TypeError("what_it_remembers: params came without the cell that they belong to")
        stored = load(TRAINED)
        cell, params, readout = LSTMCell(2, len(stored["cell"]["b_i"])), stored["cell"], stored["readout"]
    if not isinstance(alphabet, str) or len(set(alphabet)) != len(alphabet) or len(alphabet) != cell.input_size:
        raise ValueError(f"what_it_remembers: alphabet is {alphabet!r}, expected {cell.input_size} different letters, "
                         "one for each input")
    if hasattr(cell, "shapes"):
        check_params("what_it_remembers", params, cell.shapes)
    if readout is not None:
        K, H = len(alphabet) + 1, cell.hidden_size
        if not hasattr(readout, "keys") or {name: np.shape(a) for name, a in readout.items()} != {"W": (H, K), "b": (K,)}:
            raise ValueError(f'what_it_remembers: readout must hold W of shape {(H, K)} and b of shape {(K,)}')
    words = list(words)
    wrong = [word for word in words if not word or not set(word) <= set(alphabet)]
    if wrong or not words:
        found = f"holds {wrong[0]!r}" if wrong else "is empty"
        raise ValueError(f"what_it_remembers: words {found}, expected letters of {alphabet!r}")

    def compute(word):
        return scene(word, *states_of(cell, params, word, alphabet), readout, alphabet)

    start = words[min(3, len(words) - 1)]
    control = text("word", f"the sequence, letters of {alphabet}", start, alphabet, words)
    return touchable("What it remembers", compute, [control], caption or (
        "Try: five a's and then one b after the other. Notice that one line moves one way with each a and back "
        "with each b: the cell counts, and says that the end is due when the count is used up."))


def states_of(cell, params, word, alphabet):
    """(name of the state drawn, its values (T + 1, H) from before the first letter, h after the last letter (H,))."""
    state = cell.initial_state(1)
    seen = [state]
    for letter in word:
        xs = np.eye(len(alphabet))[[alphabet.index(letter)]][None]
        state = unroll(cell, params, xs, state)[1]
        seen.append(state)
    parts = [each if isinstance(each, tuple) else (each,) for each in seen]
    name = getattr(cell, "state_names", ("h",))[-1]
    return name, np.array([part[-1][0] for part in parts]), parts[-1][0][0]


def scene(word, name, states, h, readout, alphabet):
    T, H = len(word), min(states.shape[1], 4)
    low, high = min(-1.0, np.floor(states.min())), max(1.0, np.ceil(states.max()))
    letters = [[t + 1, letter] for t, letter in enumerate(word)] if T <= 14 else \
        [[t + 1, letter] for t, letter in enumerate(word) if t % (T // 12) == 0]
    lines = [scenes.line(states[:, k], COLORS[k], DASHES[k], f"{name} of unit {k + 1}", digits=3) for k in range(H)]
    panels = [scenes.plot(f"The state {name} after each letter", scenes.axis(0, max(T, 1), "letter read", ticks=letters),
                          scenes.axis(low, high), *lines, height=170)]
    counted = {letter: word.count(letter) for letter in alphabet}
    read = " and ".join(f"{{n_{letter}}} {letter}" for letter in alphabet)
    said = {f"n_{letter}": count for letter, count in counted.items()}
    k = int(np.argmax(np.abs(np.diff(states, axis=0)).sum(axis=0))) if T else 0
    said |= {"unit": k + 1, "value": states[-1, k], "name": name}
    words = f"After {read}, {{name}} of unit {{unit}} is {{value}}"
    if readout is None:
        return scenes.scene(panels, words + ".", **said)
    p = softmax(h[None] @ readout["W"] + readout["b"])[0]
    names = [*alphabet, "the end"]
    panels.append(scenes.rows("What comes next, says the cell", (0, 1), *(
        scenes.row(each, share, ("blue", "green", "purple", "grey")[k % 4]) for k, (each, share) in enumerate(zip(names, p)))))
    best = int(np.argmax(p))
    return scenes.scene(panels, words + "; the cell says that {next} comes next, with {p%}.", **said, next=names[best], p=p[best])
