"""Run a cell along a sequence: any cell with ``init``, ``initial_state`` and ``__call__``."""
import numpy as np

from . import fused as as_one_operation
from .checks_of_input import check_lengths, check_sequence, check_size, check_state
from .checkpoint import in_segments
from .functions import stack, where
from .stepping import as_state, step_along
from .trees import tree_map


def unroll(cell, params, xs, state=None, lengths=None, reverse=False, fused=True, checkpoint=None):
    """Run ``cell`` along ``xs`` and return ``(hs, state)``.

    xs: (T, B, I), time first. state: the state before the first step, zeros if None.
    lengths: (B,) integers of 1..T for rows that end early: past its end a row's state stays as it is
    and its outputs are 0. reverse: read each row from its own last step to its first; hs[t] still
    belongs to xs[t].
    fused: compute the whole sequence as one operation, by hand-derived backpropagation through time,
    where the cell is a built-in one and the arrays are NumPy's, with or without an engine around them.
    False steps the cell itself. The numbers are the same up to rounding.
    checkpoint: a number of steps k; only the state before every k-th step is kept for the way back, where the
    steps between are computed again: less memory for one more forward pass. Of T steps T/k states and the work of k
    steps are kept at once, so the memory is least with k near √(T s/m), where a state is s numbers and a step's work
    m: about √(T/10) for the LSTM.

    hs: (T, B, H), the output at each step: the state itself, or its first part where it is a tuple.
    state: the state after the last step read.

    Raises ValueError or TypeError that names the argument; an error inside the cell gets a note
    that names the time step.
    """
    who = f"unroll({type(cell).__name__})"
    check_sequence(who, xs)
    running = steps_of_rows(who, lengths, *xs.shape[:2])
    if running is not None:
        xs = where(running[..., None], xs, 0.0)      # padding reaches neither a value nor a gradient, were it NaN
    state = initial_state(cell, xs, state)

    def run(params, xs, state, running):
        return (fused and as_one_operation.run(cell, params, xs, state, running, reverse)
                or step_along(cell, params, xs, state, running, reverse))

    if checkpoint is None:
        return run(params, xs, state, running)
    check_size(who, "checkpoint", checkpoint)
    return in_segments(run, int(checkpoint), params, xs, state, running, reverse)


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
    steps = seen[::-1] if reverse else seen
    values = {name: stack([step[name] for step in steps]) for name in seen[0]}
    running = steps_of_rows("gate_values", lengths, *xs.shape[:2])
    return values if running is None else {name: where(running[..., None], x, 0.0) for name, x in values.items()}


def steps_of_rows(who, lengths, T, B):
    """(T, B): does row b have a step t? None if every row has every step."""
    if lengths is None:
        return None
    running = np.arange(T)[:, None] < check_lengths(who, lengths, T, B)
    return None if running.all() else running


def initial_state(cell, xs, state):
    """The state to start from; NumPy floats made here get the dtype of ``xs``."""
    if state is None:
        return as_state(tree_map(lambda s: s.astype(xs.dtype) if getattr(s, "dtype", None) == np.float64 else s,
                                 cell.initial_state(xs.shape[1])))
    if hasattr(cell, "state_names"):
        check_state(cell, state, xs.shape[1])
    return as_state(state)
