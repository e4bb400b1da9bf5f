"""A learner's cell as `diagnose` sees it: checked for what a cell must have, and put in this book's layout.

Whatever is missing or raises becomes a `Problem`: its kind, a name and a reason in plain words.
"""
import traceback
from pathlib import Path
from textwrap import shorten

import autograd
import numpy as np

from .catalogue import family_of
from .trees import tree_leaves, tree_map

LIBRARIES = tuple(str(Path(module).parent / "_")[:-1] for module in (__file__, np.__file__, autograd.__file__))


class Problem(Exception):
    """Why a cell can't be compared: ``Problem(kind, name, reason)``."""

    def __init__(self, kind, name, reason=""):
        super().__init__(name, reason)
        self.kind, self.name, self.reason = kind, name, reason


class Learner:
    """A learner's cell that ``step`` runs on params, x and states in this book's layout.

    family: that of its weights' names. shapes: of its parameters, here, by name. absent: biases and peepholes of
    the family that it does not have. stored_transposed: its W is (H, I). axes_swapped: it takes columns, x (I, B).
    forget_bias_absent: its init leaves b_f at 0. all_alike: its init draws no two units differently.

    Raises Problem where it is not a cell, has other names or shapes, raises, or is no function of its arguments.
    """

    def __init__(self, cell, asked, rng):
        self.cell, self.asked = cell, asked
        self.initial = self.checked_init(rng)
        self.family = family_of(self.initial) or asked
        self.check_names()
        self.stored_transposed, self.input_size, self.hidden_size = self.sizes()
        self.shapes = {name: self.shape_of(name, np.shape(p)) for name, p in self.initial.items()}
        self.batch_size = next(B for B in (7, 8, 9) if B not in (self.input_size, self.hidden_size))
        self.columns = self.find_layout(rng)
        self.check_purity(rng)

    @property
    def axes_swapped(self):
        return any(self.columns)

    @property
    def forget_bias_absent(self):
        return "b_f" in self.initial and not np.any(self.initial["b_f"])

    @property
    def all_alike(self):
        weights = [p.T if self.stored_transposed else p for name, p in self.initial.items() if name[:2] == "W_"]
        return self.hidden_size > 1 and all(np.all(W == W[:, :1]) for W in weights)

    # ------------------------------------------------------------ what it must have
    def checked_init(self, rng):
        """The dict of arrays that init returns."""
        must = "A cell is an object with init(rng), initial_state(batch_size) and __call__(params, x, state)"
        if isinstance(self.cell, type):
            raise Problem("interface", f"{self.cell.__name__} is a class", f"{must}; make one first.")
        for method in ("init", "initial_state", "__call__"):
            if not hasattr(self.cell, method):
                raise Problem("interface", f"{method} is missing", f"{must}; this is {describe(self.cell)}.")
        params = attempt("init(rng)", self.cell.init, rng)
        if not isinstance(params, dict) or not all(isinstance(k, str) and hasattr(p, "shape") for k, p in params.items()):
            raise Problem("interface", "init returns no dict of arrays",
                          f'It returned {describe(params)}; expected {{"{self.asked.needs[0]}": an array, ...}}.')
        return params

    def check_names(self):
        """The weights must have our names; biases and peepholes may be missing, which ``absent`` tells."""
        asked = self.asked
        missing = [name for name in asked.needs if name not in self.initial and name != "P_i"]
        if missing:
            theirs = "" if self.family is asked else f", which are those of {self.family.name}"
            raise Problem("interface", f"no parameters {', '.join(missing)}",
                          f"Its parameters are {', '.join(self.initial) or 'none'}{theirs}. "
                          f"To be compared with {asked.name} they need this book's names: W_g (I, H), U_g (H, H) "
                          f"and b_g (H,) for g in {', '.join(asked.lines)}{', and P_i, P_f, P_o' * asked.has_peepholes}.")
        if len(asked.needs) > len(self.family.needs):
            self.family = asked                  # a peephole LSTM without its P
        peepholes = ["P_i", "P_f", "P_o"] if self.family.has_peepholes else []
        optional = [*(f"b_{block}" for block in self.family.lines), *peepholes, "b_U"]
        self.absent = tuple(name for name in optional if name not in self.initial)

    def sizes(self):
        """(whether W is stored as (H, I), I, H), from the first block's W and U."""
        block = next(iter(self.family.lines))
        W, U = np.shape(self.initial[f"W_{block}"]), np.shape(self.initial[f"U_{block}"])
        if len(W) != 2 or len(U) != 2 or U[0] != U[1] or U[0] not in W:
            raise Problem("interface", f"W_{block} and U_{block} do not fit together",
                          f"W_{block} has shape {W} and U_{block} {U}; expected (I, H) and (H, H).")
        H = U[0]
        return (False, W[0], H) if W[1] == H else (True, W[1], H)

    def shape_of(self, name, own):
        """The shape that a parameter has in this book; ``own`` is the one it has in the learner's cell."""
        I, H = self.input_size, self.hidden_size
        if name[2:] not in (*self.family.lines, "U") or name[:2] not in ("W_", "U_", "b_", "P_"):
            return own                           # one that this book does not know
        vector = name[0] == "b" or name[0] == "P" and np.prod(own) == H
        here = (H,) if vector else (I, H) if name[0] == "W" else (H, H)
        fitting = [(H,), (1, H), (H, 1)] if vector else [here[::-1] if self.stored_transposed else here]
        if own not in fitting:
            raise Problem("interface", f"{name} has shape {own}",
                          f"Expected {fitting[0]}, with I = {I} and H = {H} as in its other weights.")
        return here

    # ------------------------------------------------------------ running it
    def step(self, params, x, state):
        """One step of the learner's cell, everything in this book's layout."""
        of_x, of_state = self.columns
        own = {name: self.own_layout(name, p) for name, p in params.items()}
        new = attempt("cell(params, x, state)", self.cell, own, x.T if of_x else x,
                      tree_map(lambda s: s.T, state) if of_state else state)
        new = tuple(new) if isinstance(new, list) else new
        return tree_map(lambda s: s.T, new) if of_state and all(hasattr(s, "T") for s in parts(new)) else new

    def own_layout(self, name, p):
        p = p.T if self.stored_transposed and name[:2] in ("W_", "U_") else p
        own = np.shape(self.initial[name])
        return p if p.shape == own else p.reshape(own)

    def zeros(self):
        """A state of zeros."""
        state = tuple(np.zeros((self.batch_size, self.hidden_size)) for _ in "hc"[:1 + self.family.has_cell])
        return state if self.family.has_cell else state[0]

    def values(self, params, x, state):
        """Everything the cell shows of a step, by the catalogue's names: its state, and its gates if it has them."""
        new = self.step(params, x, state)
        return self.gates(params, x, state) | dict(zip(("h_new", "c_new"), parts(new))) | {"state_new": new}

    def gates(self, params, x, state):
        """What a method gates(params, x, state) tells, which a learner's cell need not have."""
        if self.axes_swapped or self.stored_transposed:
            return {}
        try:
            found = self.cell.gates(params, x, state)
            return {name: value for name, value in found.items() if name not in ("h", "c") and hasattr(value, "shape")}
        except Exception:                        # none, or something else that has this name
            return {}

    def find_layout(self, rng):
        """(whether x, whether the state) go in as columns: rows where that runs, and else what does."""
        args = self.random_step(rng)
        failure = None
        for self.columns in ((False, False), (True, True), (True, False)):
            try:
                self.check_state("cell(params, x, state)", self.step(*args))
                return self.columns
            except Problem as problem:
                failure = failure or problem
        raise failure

    def random_step(self, rng):
        """Random params, x and state, for one step."""
        B = self.batch_size
        start = attempt(f"initial_state({B})", self.cell.initial_state, B)
        start = tuple(start) if isinstance(start, list) else start
        if {np.shape(s) for s in tree_leaves(start)} == {(self.hidden_size, B)}:
            start = tree_map(np.transpose, start)
        self.check_state(f"initial_state({B})", start)
        return self.random_params(rng), rng.standard_normal((B, self.input_size)), tree_map(
            lambda s: rng.standard_normal(s.shape), start)

    def random_params(self, rng):
        """Every entry random and non-zero, of a size at which no gate is shut for good."""
        def fan_in(shape):
            return shape[0] if len(shape) > 1 else 1
        return {name: rng.standard_normal(shape) / np.sqrt(fan_in(shape)) for name, shape in self.shapes.items()}

    def check_state(self, who, state):
        """A state must be h, or the tuple (h, c), each of floats (B, H)."""
        expected = (self.batch_size, self.hidden_size)
        good = [getattr(s, "shape", None) == expected and getattr(s.dtype, "kind", "") == "f" for s in parts(state)]
        if isinstance(state, tuple) != self.family.has_cell or good != [True] * (1 + self.family.has_cell):
            wanted = "the tuple (h, c), each" if self.family.has_cell else "h,"
            raise Problem("interface", f"{who} gives no state of {self.family.name}",
                          f"It gave {describe(state)}; expected {wanted} floats of shape {expected}, "
                          f"with B = {expected[0]} and H = {expected[1]}.")

    def check_purity(self, rng):
        """The same arguments must give the same state twice, and stay as they were."""
        args = self.random_step(rng)
        copies = tree_map(np.copy, args)
        once, twice = self.step(*args), self.step(*tree_map(np.copy, copies))
        if not all(np.array_equal(a, b) for a, b in zip(tree_leaves(args), tree_leaves(copies))):
            raise Problem("error", "it writes into its arguments", "A step must leave params, x and state as they are: "
                          "write h = h + ... and not h += ..., or the engine and the next call get other numbers.")
        if not all(np.all(np.isfinite(a)) for a in tree_leaves(once)):
            raise Problem("error", "the new state holds NaN or infinity", "The numbers that went in were of ordinary size.")
        if not all(np.array_equal(a, b) for a, b in zip(tree_leaves(once), tree_leaves(twice))):
            raise Problem("error", "two equal calls give two different states",
                          "A cell must be a function of (params, x, state) alone: nothing random in it, and nothing kept "
                          "in self from one call to the next.")


def parts(state):
    return state if isinstance(state, tuple) else (state,)


# ---------------------------------------------------------------- errors in plain words
def attempt(what, f, *args):
    """f(*args), or a Problem that tells what its error means."""
    try:
        return f(*args)
    except Problem:
        raise
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(LIBRARIES)]
        if isinstance(error, NotImplementedError) and not str(error):
            raise Problem("error", f"{what} is not written yet", "It raises NotImplementedError.") from None
        line = f" in the line `{shorten(frames[-1].line, 90)}`" if frames and frames[-1].line else ""
        said = f"It says: {error}\n{meaning(error)}".strip()
        raise Problem("error", f"{what} raised {type(error).__name__}{line}", said) from None


def meaning(error):
    """What an error most often means in a cell."""
    text = str(error)
    if isinstance(error, KeyError):
        return f"The cell reads a parameter {text} that its init does not make."
    if isinstance(error, ValueError) and "unpack" in text:
        return "The state is h alone in a plain cell and a GRU, and the tuple (h, c) in an LSTM."
    if isinstance(error, ValueError) and any(word in text for word in ("matmul", "broadcast", "shapes", "align")):
        return ("Two arrays don't fit together. x is (B, I) and a state (B, H); W is (I, H), U is (H, H), "
                "and both stand to the right: x @ W, h @ U.")
    if isinstance(error, TypeError) and "positional argument" in text:
        return "The calls are init(rng), initial_state(batch_size) and cell(params, x, state)."
    if isinstance(error, TypeError) and "NoneType" in text:
        return "Something is None that should be an array: is a return missing?"
    return ""


def describe(value):
    """What a value is, arrays with shape and dtype: "a tuple of float64 (7, 4), float64 (7, 4)"."""
    if value is None:
        return "None (is a return missing?)"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} {tuple(value.shape)}"
    if isinstance(value, (tuple, list)) and value and all(hasattr(part, "dtype") for part in value):
        return f"a {type(value).__name__} of {', '.join(map(describe, value))}"
    return f"a {type(value).__name__}"
