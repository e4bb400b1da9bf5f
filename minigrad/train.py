"""Training: batches, the loop, and checkpoints that lose nothing."""
import inspect
import json
import re
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from .checks_of_input import check_lengths, check_size
from .engine import value_and_grad
from .files import replace_file
from .optim import Adam, clip_by_global_norm, global_norm
from .trees import tree_items, tree_leaves, tree_map


class TrainingDiverged(FloatingPointError):
    """The loss or its gradient stopped being finite.

    ``params``: the last ones whose loss and gradient were finite; ``history`` up to there.
    """

    def __init__(self, message, params, history):
        super().__init__(message, params, history)      # all three, so that it can be pickled out of a worker process
        self.params = params
        self.history = history

    def __str__(self):
        return self.args[0]


class Batches:
    """Shuffled batches of sequences, for `fit`: each is (xs, ys) or (xs, ys, lengths).

    xs: (T, N, ...), time first. ys: (N, ...), one target a sequence, or with per_step=True
    (T, N, ...), one a step. lengths: (N,). The last batch of an epoch may be smaller.
    """

    def __init__(self, xs, ys, batch_size=32, lengths=None, per_step=False):
        xs, ys = np.asarray(xs), np.asarray(ys)
        N = xs.shape[1] if xs.ndim > 1 else 0
        if N == 0:
            raise ValueError(f"Batches: xs has shape {xs.shape}, expected (T, N, ...) with at least one sequence")
        if ys.shape[:1 + per_step] != ((xs.shape[0], N) if per_step else (N,)):
            expected = f"({xs.shape[0]}, {N}, ...)" if per_step else f"({N}, ...)"
            raise ValueError(f"Batches: ys has shape {ys.shape}, expected {expected} for xs of shape {xs.shape}")
        check_size(self, "batch_size", batch_size)
        self.xs, self.ys, self.batch_size, self.per_step = xs, ys, batch_size, per_step
        self.lengths = None if lengths is None else check_lengths("Batches", lengths, xs.shape[0], N)

    def __len__(self):
        return -(-self.xs.shape[1] // self.batch_size)

    def __call__(self, rng):
        """The batches of one epoch, in an order drawn from rng."""
        order = rng.permutation(self.xs.shape[1])
        for start in range(0, len(order), self.batch_size):
            rows = order[start:start + self.batch_size]
            batch = (self.xs[:, rows], self.ys[:, rows] if self.per_step else self.ys[rows])
            yield batch if self.lengths is None else (*batch, self.lengths[rows])


def fit(loss, params, batches, optimizer=Adam(), epochs=10, seed=0, clip_norm=None, validate=None, patience=None,
        checkpoint=None, progress=True):
    """Train ``params`` to make ``loss`` small; return ``(params, history)``.

    loss(params, *batch): a scalar; one that has an argument named ``rng`` gets a Generator (dropout).
    batches(rng): the batches of an epoch, each a tuple; see `Batches`.
    clip_norm: the largest global norm of the gradient; None does not clip.
    validate(params): a number, smaller is better, computed after each epoch; the parameters returned
    are those of the best epoch (without it, of the last), and training ends after ``patience``
    epochs without a better one.
    checkpoint: a file written after every epoch. If it exists, training goes on from there, to the
    same numbers as if it had never stopped; Ctrl-C loses at most the epoch under way.

    history: {"loss": mean of each epoch, "gradient_norm": mean norm of each epoch, before clipping,
    "validation": ...}, lists with one entry an epoch.

    Every random number comes from ``seed``, the epoch and the step.

    Raises TrainingDiverged as soon as a loss, a gradient or the parameters are not finite or validate
    gives NaN; ValueError when a checkpoint belongs to other parameters or settings.
    """
    check_fit(batches, validate, patience, checkpoint)
    described = re.sub(" at 0x[0-9a-fA-F]+", "", repr(optimizer))       # where a function lies differs from run to run
    settings = {"optimizer": described, "seed": seed, "clip_norm": clip_norm, "validate": validate is not None}
    run = {"params": params, "optimizer": optimizer.init(params), "epoch": 0, "best": params, "best_epoch": 0,
           "history": {"loss": [], "gradient_norm": [], "validation": []}, "settings": settings}
    if checkpoint is not None and Path(checkpoint).exists():
        run = resume(checkpoint, run)
    loss_and_gradient = value_and_grad(with_rng(loss))
    history, good = run["history"], run["params"]
    with tqdm(total=epochs, initial=run["epoch"], desc="epochs", disable=not progress) as bar:
        while run["epoch"] < epochs and not out_of_patience(run, patience):
            losses, norms, good = run_epoch(run, good, loss_and_gradient, batches, optimizer, seed, clip_norm)
            run["epoch"] += 1
            history["loss"].append(float(np.mean(losses)))
            history["gradient_norm"].append(float(np.mean(norms)))
            if validate is not None:
                history["validation"].append(float(validate(run["params"])))
                if np.isnan(history["validation"][-1]):
                    raise TrainingDiverged(f"fit: validate returned nan after epoch {run['epoch']}", good, history)
            if validate is None or np.argmin(history["validation"]) == run["epoch"] - 1:
                run["best"], run["best_epoch"] = run["params"], run["epoch"]
            if checkpoint is not None:
                save(checkpoint, run)
            bar.update()
            bar.set_postfix({name: f"{values[-1]:.4g}" for name, values in history.items() if values})
    if validate is None:
        del history["validation"]
    return run["best"], history


def check_fit(batches, validate, patience, checkpoint):
    if not callable(batches):
        raise TypeError(f"fit: batches is a {type(batches).__name__}, expected a function of rng that gives the batches "
                        "of an epoch, such as mg.Batches(xs, ys)")
    if patience is not None and (validate is None or patience < 1):
        raise ValueError(f"fit: patience is {patience}, expected at least 1 and a function validate to judge by")
    if checkpoint is not None and not Path(checkpoint).absolute().parent.is_dir():
        raise FileNotFoundError(f"fit: there is no folder {Path(checkpoint).parent} for the checkpoint {checkpoint}")


def run_epoch(run, good, loss_and_gradient, batches, optimizer, seed, clip_norm):
    """Take one step on each batch of an epoch, updating ``run``.

    Returns the losses, the gradient norms, and the last parameters whose loss was finite (``good`` before).
    """
    losses, norms = [], []
    epoch = run["epoch"]
    params, state = run["params"], run["optimizer"]
    for step, batch in enumerate(batches(np.random.default_rng([seed, epoch]))):
        if not isinstance(batch, (tuple, list)):
            raise TypeError(f"fit: a batch is a {type(batch).__name__}, expected a tuple, what loss takes after params")
        value, gradients = loss_and_gradient(params, batch, np.random.default_rng([seed, epoch, step + 1]))
        norm = global_norm(gradients)
        if not (np.isfinite(value) and np.isfinite(norm)):
            raise diverged(f"the loss is {value:.4g}", gradients, epoch, step, good, run["history"])
        good = params
        clipped = gradients if clip_norm is None else clip_by_global_norm(gradients, clip_norm)[0]
        params, state = optimizer.step(params, clipped, state)
        losses.append(float(value))
        norms.append(norm)
    if not losses:
        raise ValueError("fit: batches gave no batch")
    if not all(np.all(np.isfinite(leaf)) for leaf in tree_leaves(params)):
        raise diverged("the parameters are no longer finite", gradients, epoch, step, good, run["history"])
    run["params"], run["optimizer"] = params, state
    return losses, norms, good


def with_rng(loss):
    """``loss`` as a function of (params, batch, rng) that passes rng on only where it is wanted."""
    wants_rng = "rng" in inspect.signature(loss).parameters
    return lambda params, batch, rng: loss(params, *batch, rng=rng) if wants_rng else loss(params, *batch)


def out_of_patience(run, patience):
    return patience is not None and run["epoch"] - run["best_epoch"] >= patience


def diverged(what, gradients, epoch, step, good, history):
    norms = {path: float(np.linalg.norm(g)) for path, g in tree_items(gradients)}
    listed = ", ".join(f"{path or 'params'} {norm:.3g}" for path, norm in norms.items())
    return TrainingDiverged(
        f"fit: {what} at epoch {epoch + 1}, step {step + 1}. Gradient norms: {listed}. "
        "The last good parameters are in this error's .params; a smaller learning rate or clip_norm may help",
        good, history)


def resume(path, fresh):
    """The run stored at ``path``, after making sure that it is a run of the same parameters and settings."""
    stored = load(path)
    if not isinstance(stored, dict) or set(stored) != set(fresh):
        raise ValueError(f"fit: {path} is not a checkpoint of fit; name another file")
    try:
        tree_map(check_same_array, fresh["params"], stored["params"])
    except ValueError as error:
        raise ValueError(f"fit: the checkpoint {path} holds other parameters ({error}); "
                         "delete it or name another file") from None
    if stored["settings"] != fresh["settings"]:
        raise ValueError(f"fit: the checkpoint {path} was made with {stored['settings']}, not {fresh['settings']}; "
                         "delete it or name another file")
    return stored


def check_same_array(new, stored):
    new, stored = np.asarray(new), np.asarray(stored)
    if (new.shape, new.dtype) != (stored.shape, stored.dtype):
        raise ValueError(f"{stored.dtype} of shape {stored.shape}, expected {new.dtype} of shape {new.shape}")


# ---------------------------------------------------------------- trees in files
def save(path, tree):
    """Write a tree of arrays, numbers, strings, dicts, lists and tuples to ``path`` (.npz, no pickle).

    The file is complete or the old one stays: it is written beside ``path`` and then renamed.
    """
    arrays = []
    structure = np.array(json.dumps(describe(tree, arrays)))
    named = {f"array_{i}": a for i, a in enumerate(arrays)}
    replace_file(path, lambda file: np.savez(file, structure=structure, **named))


def load(path):
    """Read a tree that ``save`` wrote. Raises FileNotFoundError, or ValueError where the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            structure = json.loads(str(file["structure"]))
            return rebuild(structure, file)
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:       # a damaged byte can surface as nearly any exception of zipfile, zlib, json or NumPy
        raise ValueError(f"load: {path} is damaged or not written by minigrad.save ({error})") from error


def describe(tree, arrays):
    """The structure of a tree as JSON; its arrays are appended to ``arrays`` and stand as numbers."""
    if isinstance(tree, dict):
        if not all(isinstance(key, str) for key in tree):
            raise TypeError(f"save: dict keys must be strings, got {list(tree)}")
        return {"dict": {key: describe(value, arrays) for key, value in tree.items()}}
    if type(tree) in (list, tuple):
        return {type(tree).__name__: [describe(value, arrays) for value in tree]}
    if tree is None or isinstance(tree, (bool, int, float, str)) and not isinstance(tree, np.generic):
        return {"value": tree}
    if not isinstance(tree, (np.ndarray, np.generic)) or tree.dtype.hasobject:
        raise TypeError(f"save: cannot store a {type(tree).__name__}")
    arrays.append(np.asarray(tree))
    return {"array": len(arrays) - 1}


def rebuild(structure, file):
    (kind, content), = structure.items()
    if kind == "dict":
        return {key: rebuild(value, file) for key, value in content.items()}
    if kind == "array":
        return file[f"array_{content}"]
    if kind == "value":
        return content
    return {"list": list, "tuple": tuple}[kind](rebuild(value, file) for value in content)
