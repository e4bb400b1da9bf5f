"""Chapter 13's measurements: what each rung of its ladder costs, and what a call, a pass and a page cost.

    python experiments/steps_to_a_kernel.py             everything, about four minutes on one core
    python experiments/steps_to_a_kernel.py --quick     the same with little patience, printed and not stored

Writes steps_to_a_kernel.json beside this file. The code that is timed is the chapter's own: the cells with the tag
`timed` of notebooks/13-making-it-fast.ipynb. One thread, bound to one core, float64; what is compared takes turns, and
every time is the best of all calls, in seconds.
"""
import argparse
import datetime
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import describe, environment, set_threads  # noqa: E402
from benchmarks.measure import interleaved, summary  # noqa: E402

if __name__ == "__main__":       # one thread, and otherwise what the libraries choose; NumPy reads this when it is loaded
    chosen = environment(1)
    os.environ.clear()
    os.environ.update(chosen)

import numpy as np  # noqa: E402

import minigrad as mg  # noqa: E402

RESULTS = Path(__file__).with_suffix(".json")
NOTEBOOK = ROOT / "notebooks/13-making-it-fast.ipynb"
OPENING_SIZE = (20, 1, 8, 32)                                                           # (T, B, I, H)
LADDER_SIZES = ((20, 16, 8, 32), (50, 32, 32, 64), (100, 32, 64, 128))
COST_SIZES = ((20, 1, 8, 16), (20, 1, 8, 128), (20, 16, 8, 32), (50, 8, 32, 64), (20, 64, 8, 32), (50, 32, 32, 64),
              (50, 8, 32, 128), (100, 32, 64, 128), (50, 32, 64, 256))
CHECKPOINT_SIZE, CHECKPOINTS = (1024, 8, 8, 32), (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
PATIENCE = 3                                             # seconds for what is timed once
BLOCK_SIZE, BLOCKS = (400, 32, 64, 128), (1, 2, 4, 8, 16, 32, 64, 128, 400)


def cells():
    """The source of the chapter's cells that are timed."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return "\n\n".join("".join(cell["source"]) for cell in notebook["cells"] if "timed" in cell["metadata"].get("tags", []))


def chapter():
    """What those cells define, by name."""
    names = {}
    exec(compile(cells(), NOTEBOOK.name, "exec"), names)
    return names


def code():
    """A hash of what is timed; a test compares it with the notebook's."""
    return hashlib.sha256(cells().encode()).hexdigest()[:12]


def problem(T, B, I, H):
    """p, xs, h, c, weights."""
    rng = np.random.default_rng(0)
    p = mg.LSTMCell(I, H).init(rng)
    return p, *(rng.normal(size=shape) for shape in ((T, B, I), (B, H), (B, H), (T, B, H)))


def best(steps, seconds):
    return {name: times["best"] for name, times in summary(interleaved(steps, seconds)).items()}


def name_of(size):
    return "×".join(map(str, size))


def ladder(of, patience):
    """{size: {rung: seconds}}: the loss and its gradient."""
    found = {}
    for size in LADDER_SIZES:
        arguments = problem(*size)
        found[name_of(size)] = best({name: lambda rung=rung: rung(*arguments) for name, rung in of["LADDER"].items()}, 4 * patience)
    return found


def ladder_alone(of, patience):
    """{size: {rung: its seconds and page faults}}, each in a fresh process, whose allocator has learnt from no other rung."""
    return {name_of(size): {name: json.loads(in_fresh_process("--rung", name_of(size), name, "--patience", str(patience)))
                            for name in of["LADDER"]} for size in LADDER_SIZES}


def alone(of, size, name, patience):
    arguments = problem(*map(int, size.split("×")))

    def step():
        of["LADDER"][name](*arguments)

    seconds = best({name: step}, 0.4 * patience)[name]
    return {"seconds": seconds, "page faults": median_faults(step)}


def page_faults(of):
    """{size: {rung: page faults of one run}}, the median of runs in a row."""
    found = {}
    for size in LADDER_SIZES:
        arguments = problem(*size)
        found[name_of(size)] = {name: median_faults(lambda: rung(*arguments)) for name, rung in of["LADDER"].items()}
    return found


def median_faults(f):
    return int(np.median([faults_of(f) for _ in range(21)]))


def faults_of(f):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    f()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def opening(of, patience):
    """{what: seconds} of the way forward of the chapter's first example."""
    size = T, B, I, H = OPENING_SIZE
    p, xs, h, c, _ = problem(*size)

    def recorded(p):
        of["by_equations"](p, xs, h, c)
        return 0.0                                       # nothing to go back through: the way forward alone

    found = best({"the cell, stepped, on the tape": lambda: mg.grad(recorded)(p),
                  "the cell, stepped, on plain arrays": lambda: of["by_equations"](p, xs, h, c),
                  "eight calls a step": lambda: of["forward"](of["halved"](of["stacked"](p)), xs, h, c,
                                                              of["cut_from_one"](of["shapes_of"](*size, 1)))}, patience)
    return {"size": name_of(size), "seconds": found}


def inputs_first(of, patience):
    """{size: {how: seconds}} of the products of the way forward: one a step, or those with the inputs before the loop."""
    found = {}
    for T, B, I, H in LADDER_SIZES:
        p, xs, h, _, _ = problem(T, B, I, H)
        V = of["halved"](of["stacked"](p))
        V_h, V_x = V[:, :H].copy(), V[:, H:].copy()
        Z, A, a = np.ones((T, H + I + 1, B)), np.empty((T, 4 * H, B)), np.empty((4 * H, B))
        Z[:, :H], Z[:, H:-1] = h.T, xs.transpose(0, 2, 1)
        X = Z[:, H:].transpose(1, 0, 2).reshape(I + 1, T * B).copy()
        h_t = Z[0, :H].copy()

        def one_product():
            for z, out in zip(Z, A):
                np.dot(V, z, out=out)

        def inputs_before():
            for of_x, out in zip(np.dot(V_x, X).reshape(4 * H, T, B).transpose(1, 0, 2), A):
                np.dot(V_h, h_t, out=a)
                np.add(a, of_x, out=out)

        found[name_of((T, B, I, H))] = best({"one product a step": one_product, "the inputs' products before the loop": inputs_before},
                                            patience)
    return found


def costs(of, patience):
    """{size: seconds} of the last rung that the chapter writes."""
    rung = of["LADDER"]["h  slopes in blocks"]
    return best({name_of(size): lambda arguments=problem(*size): rung(*arguments) for size in COST_SIZES}, 8 * patience)


def parts(of, patience):
    """{size: {part: seconds}} of that rung, and the products that are in them."""
    found = {}
    for T, B, I, H in LADDER_SIZES:
        p, xs, h, c, weights = problem(T, B, I, H)
        n = min(T, of["cached"](H, B))
        space = of["cut_from_one"](of["shapes_of"](T, B, I, H, n))
        R = of["stacked"](p)
        V, zeros = of["halved"](R), np.zeros((H, B))
        of["forward"](V, xs, h, c, space)
        space["d_hs"][:] = weights.transpose(0, 2, 1)
        Z, dA = space["Z"], np.ascontiguousarray(space["dA"].transpose(1, 0, 2))
        Z_flat, dA_flat = Z[:T].transpose(1, 0, 2).reshape(-1, T * B).copy(), space["dA"].reshape(-1, T * B)
        dA_flat[:] = 0.01
        dA[:] = 0.01
        a, d_h = np.empty((4 * H, B)), np.empty((H, B))

        def all_slopes():
            for end in range(T, 0, -n):
                start = max(0, end - n)
                of["slopes"](space["D"][:end - start], start, end, space)

        found[name_of((T, B, I, H))] = best({
            "stack the weights": lambda: of["halved"](of["stacked"](p)),
            "forward": lambda: of["forward"](V, xs, h, c, space),
            "  its products": lambda: [np.dot(V, z, out=a) for z in Z[:T]],
            "slopes": all_slopes,
            "backward, slopes included": lambda: of["backward"](R[:H], space["d_hs"], space, zeros, zeros),
            "  its products ": lambda: [np.dot(R[:H], d, out=d_h) for d in dA],
            "gradient of the weights": lambda: of["of_weights"](space),
            "  its product": lambda: np.dot(dA_flat, Z_flat.T),
        }, 2 * patience)
    return found


def loop(f, times=200):
    """Many calls as one step: a single one is near what the clock resolves."""
    def step():
        for _ in range(times):
            f()
    return step


def calls(patience):
    """{what: seconds of one call}."""
    one, step, out = np.ones(1), np.ones((32, 16)), np.empty((32, 16))
    another = np.empty(1)
    wide = np.ones((4 * 32, 32 + 8 + 1)), np.ones((32 + 8 + 1, 16)), np.empty((4 * 32, 16))
    on_tape = np.ones((32, 16))

    def recorded():
        mg.grad(lambda x: np.sum(x * on_tape))(on_tape)

    def recorded_21():
        def f(x):
            for _ in range(21):
                x = x * on_tape
            return np.sum(x)
        mg.grad(f)(on_tape)

    found = best({
        "multiply, 1 number": loop(lambda: np.multiply(one, one, out=another)),
        "multiply, 32×16": loop(lambda: np.multiply(step, step, out=out)),
        "tanh, 32×16": loop(lambda: np.tanh(step, out=out)),
        "product, 128×41 by 41×16": loop(lambda: np.dot(wide[0], wide[1], out=wide[2])),
        "nothing": loop(lambda: None),
    }, 2 * patience)
    found = {name: seconds / 200 for name, seconds in found.items()}
    empty = found.pop("nothing")                     # of the loop itself
    taped = best({"1": recorded, "21": recorded_21}, patience)
    return {**{name: seconds - empty for name, seconds in found.items()},
            "multiply on the tape, 32×16, there and back": (taped["21"] - taped["1"]) / 20}


def layout(patience):
    """{what: seconds} of a step's gates at B=32, H=128: in one block, or as columns of an array that holds more."""
    B, H = 32, 128
    columns, rows = np.ones((B, 4 * H)), np.ones((4 * H, B))
    three = np.ones((3 * H, B))
    views = {"one gate, a block of rows": (rows[:H], np.empty((H, B))), "one gate, columns": (columns[:, :H], np.empty((B, H))),
             "three gates, a block of rows": (rows[:3 * H], three), "three gates, columns": (columns[:, :3 * H], np.empty((B, 3 * H)))}
    by_column, by_row, whole, turned = np.ones((H, 1)), np.ones(H), np.ones((B, H)), np.ones((H, B))
    steps = {f"{name}, multiply": loop(lambda x=x, out=out: np.multiply(x, x, out=out)) for name, (x, out) in views.items()}
    steps["three gates one by one, multiply"] = loop(lambda: [np.multiply(rows[k * H:(k + 1) * H], rows[k * H:(k + 1) * H],
                                                                          out=three[k * H:(k + 1) * H]) for k in range(3)])
    steps["add a bias (H,) to (B, H)"] = loop(lambda: np.add(whole, by_row, out=views["one gate, columns"][1]))
    steps["add a bias (H, 1) to (H, B)"] = loop(lambda: np.add(turned, by_column, out=views["one gate, a block of rows"][1]))
    return {name: seconds / 200 for name, seconds in best(steps, 2 * patience).items()}


def one_or_five():
    """{what: seconds and page faults} of fetching memory, touching every page of it and giving it back.

    In a fresh process each, because the system's allocator learns from what it has been asked before.
    """
    return {name: json.loads(in_fresh_process("--allocate", pieces)) for name, pieces in (("five arrays", "5"), ("one array of the same size", "1"))}


def allocate(pieces, total=1_200_000):
    """Seconds and page faults a round, the best of many, for arrays of ``total`` bytes together."""
    rounds = []
    for _ in range(500):
        faults, began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        arrays = [np.empty(total // pieces // 8) for _ in range(pieces)]
        for a in arrays:
            a[::512] = 1.0                           # one number in each page of 4 kB
        del arrays, a
        rounds.append((time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults))
    seconds, faults = zip(*rounds[100:])
    return {"seconds": min(seconds), "page faults": sorted(faults)[len(faults) // 2], "bytes": total}


def blocks(of, patience):
    """{steps a block: seconds} of the way back of a long sequence."""
    T, B, I, H = BLOCK_SIZE
    p, xs, h, c, weights = problem(*BLOCK_SIZE)
    R, zeros = of["stacked"](p), np.zeros((H, B))
    spaces = {n: of["cut_from_one"](of["shapes_of"](T, B, I, H, n)) for n in BLOCKS}
    for space in spaces.values():
        of["forward"](of["halved"](R), xs, h, c, space)
        space["d_hs"][:] = weights.transpose(0, 2, 1)
    found = best({n: lambda space=space: of["backward"](R[:H], space["d_hs"], space, zeros, zeros) for n, space in spaces.items()}, 5 * patience)
    return {"size": name_of(BLOCK_SIZE), "bytes a step": 6 * H * B * 8, "seconds": {str(n): seconds for n, seconds in found.items()}}


def checkpoint():
    """{k: bytes that Python and NumPy have at the peak} of a gradient with unroll(checkpoint=k); "none" without."""
    found = {str(k): int(in_fresh_process("--checkpoint", str(k))) for k in ("none", *CHECKPOINTS)}
    return {"size": name_of(CHECKPOINT_SIZE), "bytes": found}


def peak_with(k):
    """The bytes of one gradient, in a process that has no memory to spare from earlier ones."""
    T, B, I, H = CHECKPOINT_SIZE
    p, xs, h, c, weights = problem(T, B, I, H)
    cell = mg.LSTMCell(I, H)
    tracemalloc.start()
    mg.grad(lambda p: np.sum(mg.unroll(cell, p, xs, (h, c), checkpoint=k)[0] * weights))(p)
    return tracemalloc.get_traced_memory()[1]


def in_fresh_process(*arguments):
    return subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True).stdout


def one_run_is_none(of):
    """How one and the same step differs from call to call: the first, then 300 more, as they came."""
    rung, arguments = of["LADDER"]["   mg.unroll"], problem(*LADDER_SIZES[0])
    times = []
    for _ in range(301):
        began = time.perf_counter()
        rung(*arguments)
        times.append(time.perf_counter() - began)
    cold, flush = [], np.ones(8_000_000)
    for _ in range(20):
        flush += 1.0                                 # 64 MB, more than the caches hold
        began = time.perf_counter()
        rung(*arguments)
        cold.append(time.perf_counter() - began)
    return {"size": name_of(LADDER_SIZES[0]), "first": times[0], "others": times[1:], "caches full of other things": cold}


def run(patience):
    set_threads(1)
    of = chapter()
    return {"measured on": {name: value for name, value in describe().items() if name in ("processor", "cores", "system", "python", "numpy", "BLAS of NumPy")},
            "date": str(datetime.date.today()), "threads": 1, "dtype": "float64", "code": code(), "quick": patience < PATIENCE,
            "opening": opening(of, patience), "one run": one_run_is_none(of), "calls": calls(patience), "layout": layout(patience),
            "memory": one_or_five(), "ladder": ladder(of, patience), "page faults": page_faults(of),
            "alone": ladder_alone(of, patience), "parts": parts(of, patience), "inputs first": inputs_first(of, patience),
            "costs": costs(of, patience), "blocks": blocks(of, patience), "checkpoint": checkpoint()}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds a part; stores nothing")
    parser.add_argument("--allocate", type=int, metavar="PIECES", help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", metavar="K", help=argparse.SUPPRESS)
    parser.add_argument("--rung", nargs=2, metavar=("SIZE", "NAME"), help=argparse.SUPPRESS)
    parser.add_argument("--patience", type=float, default=PATIENCE, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.rung:
        set_threads(1)
        print(json.dumps(alone(chapter(), *arguments.rung, arguments.patience)))
        return
    if arguments.checkpoint:
        print(peak_with(None if arguments.checkpoint == "none" else int(arguments.checkpoint)))
        return
    if arguments.allocate:
        print(json.dumps(allocate(arguments.allocate)))
        return
    text = json.dumps(rounded(run(0.2 if arguments.quick else PATIENCE)), indent=1, ensure_ascii=False)
    if arguments.quick:
        print(text)
    else:
        RESULTS.write_text(text + "\n", encoding="utf-8")


def rounded(found):
    """Seconds to four digits: more would be noise."""
    if isinstance(found, dict):
        return {name: rounded(value) for name, value in found.items()}
    if isinstance(found, list):
        return [rounded(value) for value in found]
    return float(f"{found:.4g}") if isinstance(found, float) else found


if __name__ == "__main__":
    main()
