"""What is this cell? `diagnose` holds a learner's cell against the catalogue and says so in plain words.

The cell is a black box that maps (params, x, state) to the new state. On random numbers, with no weight
zero and no two sizes equal, two different equations give different values; so the procedure is to run
the right equations, then each known variant and mistake, then each pair of them, until one gives the
cell's values. If none does, terms are set to zero in both, the cell and the equations, to find out where
they part. `minigrad.learner` puts the cell in this book's layout first.
"""
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from .catalogue import (ALL_UNITS_ALIKE, AXES_SWAPPED, FAMILIES, FORGET_BIAS_ABSENT, STORED_TRANSPOSED, Entry,
                        step, without)
from .cells import GRUCell, LSTMCell, PeepholeLSTMCell, RNNCell
from .checks_of_input import check_rng
from .engine import value_and_grad
from .learner import Learner, Problem, attempt, parts
from .trees import tree_map

T = 4                   # steps of the trial: some mistakes need two to show
TOLERANCE = 1e-5        # of values: far above rounding, also of float32, and far below the effect of any mistake
GRADIENT_TOLERANCE = 1e-4
FAMILY_OF = {RNNCell: "rnn", LSTMCell: "lstm", PeepholeLSTMCell: "peephole", GRUCell: "gru"}
HEADLINES = {
    "right": "Right", "variant": "A known variant", "mistake": "A known mistake", "mistakes": "Several known things at once",
    "gradient": "The values are right, the gradient is not", "unknown": "Not what it should be",
    "interface": "Not yet a cell that can be compared", "error": "It stops with an error",
}


# ---------------------------------------------------------------- the report
@dataclass(frozen=True, repr=False)
class Diagnosis:
    """What `diagnose` found; print it for plain words.

    kind: "right"; "variant" (sensible, and has a name); "mistake"; "mistakes" (several entries at once); "gradient"
    (the values are right, a gradient is not); "unknown"; "interface" (a name, a shape); "error" (it raised).
    name: the entry of the catalogue, or what the cell is. what: the right form it is, or else comes closest to.
    lines: (the line as it seems to be, the line as it should be), each as text. where, step, difference: the
    gate or output that differs first, from a state of zeros, the time step (from 0) and by how much.
    gradients: {parameter: relative error}, the worst first. right: the lines that are right, each taken alone.
    also: entries that can't be told apart from this on the cell's sizes. chapter: what to read.
    """

    kind: str
    name: str
    reason: str = ""
    source: str = ""
    chapter: int | None = None
    what: str = ""
    lines: tuple = ()
    where: str | None = None
    step: int | None = None
    difference: float | None = None
    gradients: dict | None = None
    right: tuple = ()
    also: tuple = ()

    @property
    def ok(self):
        """Whether the cell computes something sensible that has a name."""
        return self.kind in ("right", "variant")

    def __str__(self):
        return "\n".join(part for part in (
            f"{HEADLINES[self.kind]}: {self.name}.", self.reason, *self.equations(),
            self.sentence_where(), self.sentence_gradients(),
            self.right and f"Right, each taken alone with the other weights at 0: {', '.join(self.right)}.",
            self.kind != "right" and self.what and f"{'Otherwise' if self.lines else 'Compared with'}: {self.what}.",
            self.source and f"Seen in: {self.source}.",
            self.also and f"With these sizes it can't be told apart from: {'; '.join(self.also)}. Larger sizes would show.",
            self.chapter and f"Read chapter {self.chapter}.") if part)

    __repr__ = __str__          # so that a notebook shows it well as the value of a cell

    def equations(self):
        for is_, should in self.lines:
            if is_:
                yield f"  it computes   {is_}"
            yield f"  the equation  {should}"

    def sentence_where(self):
        if self.where is None:
            return ""
        late = " A test of one step from zeros would not notice." if self.step else ""
        return f"From a state of zeros it first shows in {self.where} at t = {self.step}, by {self.difference:.2g}.{late}"

    def sentence_gradients(self):
        worst = [f"{name} (by {error:.0%})" for name, error in list((self.gradients or {}).items())[:3]]
        more = len(self.gradients or {}) - len(worst)
        return f"Gradients that are off: {', '.join(worst)}{f' and {more} more' if more > 0 else ''}." if worst else ""


# ---------------------------------------------------------------- the procedure
def diagnose(my_cell, like, rng=None):
    """Say which known variant or known mistake a cell is; returns a report that prints in plain words.

    my_cell: anything with ``init(rng)``, ``initial_state(batch_size)`` and ``cell(params, x, state)``, whose
    parameters have the names of the built-in cells: W_z (I, H), U_z (H, H), b_z (H,), P_i.
    like: what it should be, "rnn", "lstm", "peephole" or "gru" in any right convention; or a cell, such as
    ``GRUCell(3, 4, reset="after")``, for that convention alone. rng: numpy.random.Generator of the trial.

    Whatever the cell does is in the report, its errors too. Raises ValueError for a ``like`` that is neither.
    """
    family, wanted = target(like)
    rng = np.random.default_rng(0) if rng is None else rng
    check_rng("diagnose", rng)
    try:
        with np.errstate(all="ignore"):          # what overflows is a finding here
            learner = Learner(my_cell, family, rng)
            wanted = wanted if learner.family is family else learner.family.conventions
            return compare(learner, family, wanted, Trial(learner, wanted, rng))
    except Problem as problem:
        return Diagnosis(problem.kind, problem.name, problem.reason, chapter=family.chapter)


def target(like):
    """The family of ``like``, and the conventions of it that count as right."""
    if isinstance(like, str) and like in FAMILIES:
        return FAMILIES[like], FAMILIES[like].conventions
    if type(like) in FAMILY_OF:
        family = FAMILIES[FAMILY_OF[type(like)]]
        return family, tuple(c for c in family.conventions if all(getattr(like, k) == v for k, v in c.options.items()))
    raise ValueError(f"diagnose: like is {like!r}, expected one of {', '.join(FAMILIES)}, or a built-in cell")


def compare(learner, asked, wanted, trial):
    """The report on a cell that runs."""
    before = list(seen_before_running(learner, asked))
    found, also = search(learner, trial)
    if found is None:
        return report_unknown(learner, trial)
    convention, entries, equations = found
    if convention not in wanted:
        before.append(Entry(f"{learner.family.name} {convention.name}", None, as_in(convention), "variant", chapter=9))
    entries = (*before, *entries)
    if not any(entry.kind == "mistake" for entry in entries):
        problem = gradient_problem(learner, equations, trial)
        if problem:
            return Diagnosis("gradient", *problem, what=f"{learner.family.name} {convention.name}", chapter=5)
    return report_found(learner, wanted, trial, found, entries, also)


def seen_before_running(learner, asked):
    """The entries that names, shapes and init give away."""
    if learner.family is not asked:
        yield Entry(f"{learner.family.name}, not {asked.name}", None, "So the names of its parameters say.", "variant",
                    chapter=learner.family.chapter)
    if learner.axes_swapped:
        yield AXES_SWAPPED
    if learner.stored_transposed:
        yield STORED_TRANSPOSED
    missing = [name for name in learner.absent if name != "b_U"]
    if missing:
        yield Entry(f"{learner.family.name} without {', '.join(missing)}", None,
                    "It has no such parameters; the rest is compared as if they were 0.", "variant")
    if learner.forget_bias_absent:
        yield FORGET_BIAS_ABSENT
    if learner.all_alike:
        yield ALL_UNITS_ALIKE


# ---------------------------------------------------------------- searching
class Trial:
    """Random params, inputs and states, on which the learner's cell and equations are compared."""

    def __init__(self, learner, wanted, rng):
        shape = (T, learner.batch_size, learner.input_size)
        self.params, _, self.state = learner.random_step(rng)
        sizes = np.geomspace(0.3, 2, learner.batch_size)[:, None]      # small and large numbers in one batch
        self.xs, self.state = rng.standard_normal(shape) * sizes, tree_map(lambda s: s * sizes, self.state)
        self.weights = rng.standard_normal((T, learner.batch_size, learner.hidden_size))
        self.right_forms = list(self.forms(learner, wanted))           # (convention, equations)

    def forms(self, learner, wanted):
        """(convention, equations): the wanted ones first, less what the learner's cell has no parameters for."""
        seen = []
        for convention in sorted(learner.family.conventions, key=lambda c: c not in wanted):
            equations = without(learner.absent)(convention.equations)
            if equations not in seen and self.step(equations) is not None:       # a full P does not fit a diagonal form
                seen.append(equations)
                yield convention, equations

    def step(self, equations, changed=None):
        """The new state after the first step, with some params changed; None where the equations don't fit the shapes."""
        try:
            return step(equations, self.params | (changed or {}), self.xs[0], self.state)["state_new"]
        except (ValueError, NameError):          # NameError: a P_c that only some cells have
            return None

    def gradient(self, step_of):
        """Of a weighted sum of all outputs, for every parameter."""
        def loss(params):
            state, total = self.state, 0.0
            for x, weight in zip(self.xs, self.weights):
                state = step_of(params, x, state)
                total = total + sum((weight * part).sum() for part in parts(state))
            return total
        return value_and_grad(loss)(self.params)[1]

    def gradient_errors(self, learner, equations):
        """{parameter: relative error} of the learner's gradients that are off, the worst first."""
        theirs = attempt("the gradient of cell(params, x, state)", self.gradient, learner.step)
        ours = self.gradient(lambda params, x, state: step(equations, params, x, state)["state_new"])
        errors = {name: relative_error(theirs[name], g) for name, g in ours.items()}
        worst_first = sorted(errors, key=lambda name: -errors[name])
        return {name: errors[name] for name in worst_first if errors[name] > GRADIENT_TOLERANCE}


def difference(a, b):
    """The largest difference of two states, relative to numbers above 1; infinite where their shapes differ."""
    if a is None or b is None:
        return np.inf
    pairs = list(zip(parts(a), parts(b)))
    if any(np.shape(x) != np.shape(y) for x, y in pairs):
        return np.inf
    return max(float(np.max(np.abs(x - y) / np.maximum(1.0, np.abs(x)))) for x, y in pairs)


def relative_error(g, right):
    """The norm of the difference in units of the larger norm; infinite where g is not finite."""
    error = np.linalg.norm(g - right) / max(np.linalg.norm(g), np.linalg.norm(right), 1e-9)
    return float(error) if np.isfinite(error) else np.inf


def search(learner, trial):
    """The first of the right forms, single entries and pairs that gives the learner's values, and what else does.

    Returns ((convention, entries, equations), names); the first is None where nothing does.
    """
    new_state = learner.step(trial.params, trial.xs[0], trial.state)

    def hits(candidates):
        return [hit for hit in candidates if difference(trial.step(hit[2]), new_state) < TOLERANCE]

    right, singles = hits(right_forms(trial)), hits(single_entries(learner, trial))
    found = right + singles or hits(pairs_of_entries(learner, trial))
    return (found[0], other_names(found)) if found else (None, ())


def right_forms(trial):
    return ((convention, (), equations) for convention, equations in trial.right_forms)


def single_entries(learner, trial):
    for convention, right in trial.right_forms:
        for entry in learner.family.entries:
            equations = entry.edit(right)
            if equations != right:
                yield convention, (entry,), equations


def pairs_of_entries(learner, trial):
    for (convention, (first,), once), (other, (second,), alone) in combinations(single_entries(learner, trial), 2):
        if convention is other:
            twice = second.edit(once)
            if twice not in (once, alone):
                yield convention, (first, second), twice


def other_names(hits):
    """What the other hits are called, without what the first one says already."""
    def name(hit):
        return " and ".join(entry.name for entry in hit[1]) or hit[0].name
    return tuple(dict.fromkeys(name(hit) for hit in hits[1:] if name(hit) != name(hits[0])))


# ---------------------------------------------------------------- what the report says
def as_in(convention):
    return f"As in: {convention.who}." if convention.who else ""


def report_found(learner, wanted, trial, found, entries, also):
    """The report on a cell that is right or whose entries are known."""
    convention, _, equations = found
    if not entries:
        return Diagnosis("right", f"{learner.family.name} {convention.name}", as_in(convention), also=also,
                         chapter=learner.family.chapter)
    possible = [form for form in trial.right_forms if form[0] in wanted]         # none where a full P fits no diagonal form
    meant, right = next((form for form in possible if form[0] is convention),
                        (possible or [form for form in trial.right_forms if form[0] is convention])[0])
    mistakes = [entry for entry in entries if entry.kind == "mistake"]
    what = f"{learner.family.name} {(meant if mistakes or possible else wanted[0]).name}"
    report = dict(name=" and ".join(entry.name for entry in entries), what=what, also=also,
                  reason="\n".join(entry.reason for entry in entries if entry.reason),
                  source="; ".join(dict.fromkeys(entry.source for entry in entries if entry.source)),
                  chapter=(mistakes or entries)[0].chapter or learner.family.chapter,
                  lines=tuple((f"{name} = {equations[name]}", f"{name} = {right[name]}")
                              for name in right if equations[name] != right[name]))
    kind = "variant" if not mistakes else "mistake" if len(entries) == 1 else "mistakes"
    if mistakes and equations != right:
        report |= first_difference(trial, right, learner.zeros(), lambda p, x, s: step(equations, p, x, s))
        report["gradients"] = gradients_or_none(learner, right, trial)
    return Diagnosis(kind, **report)


def first_difference(trial, right, zeros, values_of):
    """Where, at which step and by how much values_of(params, x, state) first differs from the right lines."""
    ours = theirs = zeros
    for t, x in enumerate(trial.xs):
        expected, found = step(right, trial.params, x, ours), values_of(trial.params, x, theirs)
        for name in (name for name in right if name in found):
            amount = difference(expected[name], found[name])
            if not amount <= TOLERANCE:          # so that NaN counts
                return {"where": name, "step": t, "difference": amount}
        ours, theirs = expected["state_new"], found["state_new"]
    return {}


def gradient_problem(learner, equations, trial):
    """What is wrong with the gradients of a cell whose values are right: (name, reason), or None."""
    try:
        wrong = trial.gradient_errors(learner, equations)
    except Problem as problem:
        return "it can't be computed", f"With minigrad's Tensors {problem.name}. {problem.reason}"
    if not wrong:
        return None
    listed = ", ".join(f"{name} (by {error:.0%})" for name, error in wrong.items())
    return f"it is off for {listed}", (
        "Something cuts or bends it on its way: t.value, a copy made with np.array, or a derivative of the cell's own that is "
        "wrong. mg.check_grads shows the entries.")


def report_unknown(learner, trial):
    """The report on a cell that nothing in the catalogue explains: which lines are right, and where it parts.

    It may be that an entry explains a part of it; then that is named too.
    """
    convention, entries, equations = closest(learner, trial)
    right, names = dict(trial.right_forms)[convention], learner.family.lines
    agreeing = lines_in_common(learner, equations, trial)
    groups = explained_by(learner, equations, trial)
    groups = [group for group in groups if not set(blocks_of(learner, group)) <= set(agreeing)]
    suspects = {names[block] for group in groups for block in blocks_of(learner, group)}
    lines = [name for name in right if name in suspects]
    where = f"it differs in the line of {' and in that of '.join(lines)}" if lines else "no single line explains it"
    known = [f"{entry.name} (a known {entry.kind}, as far as can be seen)" for entry in entries]
    reason = "; ".join(f"with {' and '.join(group)} set to 0" for group in groups)
    return Diagnosis(
        "unknown", " and ".join([*known, where]),
        f"It gives the values of the equations {reason}: look at these terms." if groups else "",
        what=f"{learner.family.name} {convention.name}", chapter=learner.family.chapter,
        lines=tuple((equations[name] != right[name] and f"{name} = {equations[name]}", f"{name} = {right[name]}")
                    for name in right if name in lines or equations[name] != right[name]),
        right=tuple(names[block] for block in agreeing if equations[names[block]] == right[names[block]]),
        gradients=gradients_or_none(learner, right, trial),
        **first_difference(trial, right, learner.zeros(), learner.values))


def closest(learner, trial):
    """The (convention, entries, equations), of no entry or one, that have the most lines in common with the cell.

    Of several, one without an entry, then the one that explains most, then the one with the nearest values.
    """
    forms = [*right_forms(trial), *single_entries(learner, trial)]
    common = [len(lines_in_common(learner, equations, trial)) for _, _, equations in forms]
    best = [form for form, n in zip(forms, common) if n == max(common)]
    best = [form for form in best if not form[1]] or best
    return max(best, key=lambda form: (len(explained_by(learner, form[2], trial)), -distance(learner, form[2], trial, {})))


def lines_in_common(learner, equations, trial):
    return [block for block in learner.family.lines if is_right(learner, equations, trial, block)]


def distance(learner, equations, trial, changed):
    """How far the cell is from the equations after the trial's first step, with some params changed in both."""
    return difference(trial.step(equations, changed), learner.step(trial.params | changed, trial.xs[0], trial.state))


def zeros(trial, names):
    return {name: 0 * trial.params[name] for name in names}


def params_of(learner, block, kinds="WUPb"):
    """The names of a block's parameters."""
    return [name for name in (f"{kind}_{block}" for kind in kinds) if name in learner.shapes]


def blocks_of(learner, names):
    return [block for block in learner.family.lines if any(name[-1] == block for name in names)]


def explained_by(learner, equations, trial):
    """The smallest groups of params of one or two blocks without which the cell gives the equations' values."""
    groups = [[name] for name in learner.shapes]
    groups += [params_of(learner, block, kinds) for block in learner.family.lines for kinds in ("WUP", "WUPb")]
    groups += [one + other for one, other in combinations(groups, 2) if one[0][-1] != other[0][-1]]
    found = []
    for group in groups:
        if not any(set(smaller) <= set(group) for smaller in found) and (
                distance(learner, equations, trial, zeros(trial, group)) < TOLERANCE):
            found.append(group)
    return found


def is_right(learner, equations, trial, block):
    """Whether the cell agrees with the equations where, apart from this block, little or nothing is at work.

    What is left of the others must let the block's values through, so several choices are tried:
    their biases, the candidate's bias, the candidate's weights (through which alone r is seen).
    """
    own = params_of(learner, block)
    biases = [name for name in learner.shapes if name[:2] == "b_"]
    candidate = params_of(learner, "h" if "h" in learner.family.lines else "c")
    for kept in (biases, [name for name in candidate if name in biases], candidate, biases + candidate):
        still = zeros(trial, [name for name in learner.shapes if name not in own + kept])
        seen = difference(trial.step(equations, still), trial.step(equations, still | zeros(trial, own))) > TOLERANCE
        if seen and distance(learner, equations, trial, still) < TOLERANCE:
            return True
    return False


def gradients_or_none(learner, equations, trial):
    try:
        return trial.gradient_errors(learner, equations)
    except Problem:
        return None
