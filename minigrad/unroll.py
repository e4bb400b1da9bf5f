"""Run a cell along a sequence: any cell with ``init``, ``initial_state`` and ``__call__``."""
import numpy as np

from .checks_of_input import check_lengths, check_sequence, check_state
from .functions import stack, where
from .trees import tree_map


def unroll(cell, params, xs, state=None, lengths=None, reverse=False, fused=True):
    """Step ``cell`` along ``xs`` and return ``(hs, state)``.

    xs: (T, B, I), time first. state: the state before the first step, zeros if None.
    lengths: (B,) integers of 1..T for rows that end early: past its end a row's state stays as it is
    and its outputs are 0. reverse: read each row from its own last step to its first; hs[t] still
    belongs to xs[t].
    fused: use the cell's hand-derived kernel where it has one; no cell has one yet, so for now both
    settings step the cell.

    hs: (T, B, H), the output at each step: the state itself, or its first part where it is a tuple.
    state: the state after the last step read.

    Raises ValueError or TypeError that names the argument; an error inside the cell gets a note
    that names the time step.
    """
    who = f"unroll({type(cell).__name__})"
    check_sequence(who, xs)
    T, B = xs.shape[:2]
    running = steps_of_rows(who, lengths, T, B)
    if not running.all():
        xs = where(running[..., None], xs, 0.0)      # padding reaches neither a value nor a gradient, were it NaN
    state = initial_state(cell, xs, state)
    outputs = [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        try:
            new_state = as_state(cell(params, xs[t], state))
        except Exception as error:
            error.add_note(f"at time step t = {t} of unroll (T = {T})")
            raise
        if running[t].all():
            state = new_state
            outputs[t] = output_of(state)
        else:
            state = tree_map(lambda new, old: where_rows(running[t], new, old), new_state, state)
            outputs[t] = where_rows(running[t], output_of(state), 0.0)
    return stack(outputs), state


def gate_values(cell, params, xs, state=None, lengths=None, reverse=False):
    """Every gate, candidate and state of a cell along a sequence, by name: {"z": (T, B, H), ...}.

    Asks the cell's own equations, ``cell.gates(params, x, state)``, at every step of `unroll`;
    arguments as there. Past the end of a row the values are 0.
    """
    if not hasattr(cell, "gates"):
        raise TypeError(f"gate_values: {type(cell).__name__} has no method gates(params, x, state) "
                        "that returns its gates by name")
    seen = []

    class Recorder:
        initial_state = cell.initial_state

        def __call__(self, params, x, state):
            new_state = cell(params, x, state)
            seen.append(cell.gates(params, x, state))
            return new_state

    Recorder.__name__ = type(cell).__name__          # for the errors
    unroll(Recorder(), params, xs, state, lengths, reverse, fused=False)
    running = steps_of_rows("gate_values", lengths, *xs.shape[:2])[..., None]
    steps = seen[::-1] if reverse else seen
    return {name: where(running, stack([step[name] for step in steps]), 0.0) for name in seen[0]}


def steps_of_rows(who, lengths, T, B):
    """(T, B): does row b have a step t?"""
    ends = np.full(B, T) if lengths is None else check_lengths(who, lengths, T, B)
    return np.arange(T)[:, None] < ends


def where_rows(rows, x, y):
    """x in the rows (B,) that are true and y in the others, for x (B, ...) of any number of axes."""
    return where(rows.reshape(-1, *[1] * (np.ndim(x) - 1)), x, y)


def initial_state(cell, xs, state):
    """The state to start from; NumPy floats made here get the dtype of ``xs``."""
    if state is None:
        return as_state(tree_map(lambda s: s.astype(xs.dtype) if getattr(s, "dtype", None) == np.float64 else s,
                                 cell.initial_state(xs.shape[1])))
    if hasattr(cell, "state_names"):
        check_state(cell, state, xs.shape[1])
    return as_state(state)


def as_state(state):
    """A state is an array, or a tuple whose first part is the cell's output; a list counts as a tuple."""
    if not isinstance(state, (tuple, dict)) and not hasattr(state, "shape") and hasattr(state, "__len__"):
        state = tuple(state)                         # of a list, or of autograd's box of a tuple
    if not hasattr(output_of(state), "shape"):
        raise TypeError(f"the state is a {type(state).__name__}, expected an array or a tuple of arrays, the output first")
    return state


def output_of(state):
    """The part of a state that is the cell's output: h of h, h of (h, c)."""
    return state[0] if isinstance(state, tuple) else state
