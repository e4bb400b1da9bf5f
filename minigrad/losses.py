"""Losses: each returns one number, the mean over all entries (or over those a mask keeps)."""
import numpy as np

from .checks_of_input import check_floats, check_shape
from .functions import log_softmax, namespace, where


def mse(predictions, targets):
    """Mean of (prediction - target)². Both of the same shape."""
    check_floats("mse", "predictions", predictions)
    targets = targets if hasattr(targets, "shape") else np.asarray(targets)
    check_shape("mse", "targets", targets, tuple(predictions.shape), ", the shape of predictions")
    check_not_empty("mse", "predictions", predictions)
    error = predictions - targets
    return (error * error).mean()


def cross_entropy(logits, labels, mask=None):
    """Mean of -log softmax(logits)[label], in nats.

    logits: (..., K), any real numbers. labels: (...), integers of 0..K-1.
    mask: (...), true where an entry counts; the mean is over those, and what stands elsewhere, be it
    inf, NaN or a label of -1, does not matter. Computed from the logits themselves, so that a
    confident mistake costs its logit difference and never infinity.
    """
    check_floats("cross_entropy", "logits", logits)
    labels, mask, K = check_labels(labels, mask, logits)
    logits = where(mask[..., None], logits, 0.0)      # first of all: 0 times the inf or NaN of a padding would be NaN
    counts = mask[..., None] & (labels[..., None] == np.arange(K))
    return -where(counts, log_softmax(logits), 0.0).sum() / int(mask.sum())


def binary_cross_entropy(logits, targets):
    """Mean of -[y log σ(a) + (1-y) log(1-σ(a))] for logits a and targets y in [0, 1], in nats."""
    check_floats("binary_cross_entropy", "logits", logits)
    targets = np.asarray(targets, dtype=logits.dtype)
    check_shape("binary_cross_entropy", "targets", targets, tuple(logits.shape), ", the shape of logits")
    check_not_empty("binary_cross_entropy", "logits", logits)
    if not (targets.min() >= 0 and targets.max() <= 1):
        raise ValueError(f"binary_cross_entropy: targets range from {targets.min()} to {targets.max()}, expected 0 to 1")
    softplus = namespace(logits).logaddexp(logits, 0.0)      # log(1 + e^a) = -log(1 - σ(a)), without overflow
    return (softplus - logits * targets).mean()


def accuracy(logits, labels, mask=None):
    """The part, of 0 to 1, of entries whose largest logit is the label's. Plain arrays, no gradient."""
    labels, mask, _ = check_labels(labels, mask, logits)
    hits = np.argmax(logits, axis=-1) == labels
    return float(np.mean(hits[mask]))


def check_not_empty(who, name, x):
    if x.size == 0:
        raise ValueError(f"{who}: {name} of shape {tuple(x.shape)} hold no entry to take the mean of")


def check_labels(labels, mask, logits):
    """Labels and mask as arrays of one shape, and K; a label that the mask leaves out becomes 0, whatever it was."""
    labels, K = np.asarray(labels), logits.shape[-1]
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels have dtype {labels.dtype}, expected integers")
    check_shape("cross_entropy", "labels", labels, tuple(logits.shape[:-1]), f" for logits of shape {tuple(logits.shape)}")
    if labels.size == 0:
        raise ValueError(f"labels are empty, expected 0 to K-1 = {K - 1}")
    mask = check_mask(mask, labels.shape)
    labels = np.where(mask, labels, 0)
    if labels.min() < 0 or labels.max() >= K:
        raise ValueError(f"labels range from {labels.min()} to {labels.max()}, expected 0 to K-1 = {K - 1}")
    return labels, mask, K


def check_mask(mask, shape):
    """The mask as an array of bools; everything, where there is none."""
    mask = np.ones(shape, bool) if mask is None else np.asarray(mask, dtype=bool)
    check_shape("cross_entropy", "mask", mask, shape, ", the shape of labels")
    if not mask.any():
        raise ValueError("cross_entropy: mask keeps no entry")
    return mask
