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
    ends = np.full(B, T) if lengths is None else check_lengths(who, lengths, T, B)
    state = initial_state(cell, xs, state)
    outputs = [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        try:
            new_state = cell(params, xs[t], state)
        except Exception as error:
            error.add_note(f"at time step t = {t} of unroll (T = {T})")
            raise
        running = (t < ends)[:, None]           # (B, 1): which rows have a step t
        state = new_state if running.all() else tree_map(
            lambda new, old: where(running, new, old), new_state, state)
        h = output_of(state)
        outputs[t] = h if running.all() else where(running, h, 0 * h)
    return stack(outputs), state


def gate_values(cell, params, xs, state=None, lengths=None, reverse=False):
    """Every gate, candidate and state of a cell along a sequence, by name: {"z": (T, B, H), ...}.

    Runs the cell's own equations, ``cell.gates``, step by step; arguments as in `unroll`.
    Past the end of a row the values are 0.
    """
    if not hasattr(cell, "gates"):
        raise TypeError(f"gate_values: {type(cell).__name__} has no method gates(params, x, state) "
                        "that returns its gates by name")
    seen = []

    class Recorder:
        initial_state = cell.initial_state

        def __call__(self, params, x, state):
            seen.append(cell.gates(params, x, state))
            return cell.state_of(seen[-1])

    unroll(Recorder(), params, xs, state, lengths, reverse, fused=False)
    T, B = xs.shape[:2]
    steps = seen[::-1] if reverse else seen
    running = np.arange(T)[:, None, None] < (np.full(B, T) if lengths is None else np.asarray(lengths))[:, None]
    return {name: stack([step[name] for step in steps]) * running for name in seen[0]}


def initial_state(cell, xs, state):
    """The state to start from, with the dtype of ``xs`` where it is made here."""
    if state is None:
        return tree_map(lambda s: s.astype(xs.dtype), cell.initial_state(xs.shape[1]))
    if hasattr(cell, "state_names"):
        check_state(cell, state, xs.shape[1])
    return state if hasattr(state, "shape") else tuple(state)


def output_of(state):
    """The part of a state that is the cell's output: h of h, h of (h, c)."""
    return state[0] if isinstance(state, tuple) else state
