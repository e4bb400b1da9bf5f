"""Backpropagation through time by hand: a whole sequence of a built-in cell as one operation.

Stepping a cell costs Python a few microseconds for every operation of every step, twice with gradients.
Here a sequence is one node of the tape, with a forward and a backward loop of a few NumPy calls a step. The
equations are those of `minigrad.cells` and their derivatives (chapters 3, 5 and 7), with the same symbols.

What makes it fast, and a little harder to read than a cell:

* Features come first inside. A step's gates are blocks (H, B) of one contiguous array, so that one call
  squashes, or multiplies, several gates at once: ``ifo *= ...``.
* One matrix product a step gives all gates, a = V Z with Z = [h_{t-1}; x_t; 1] of (H+I+1, B). V holds U, W and b
  of each gate, one block of rows a gate.
* σ(a) = (1 + tanh(a/2)) / 2, so one tanh serves gates and candidates; the halves are in V's rows.
* On the way back every gradient of a step is δh or δc times numbers known beforehand, the **slopes**.
  They are computed for many steps in one call, as many as stay in the processor's cache.
* The gradients of W, U and b are one matrix product for a chunk of many steps.
"""
import math
from itertools import accumulate

import numpy as np

from .cells import GRUCell, LSTMCell, PeepholeLSTMCell, RNNCell
from .spare_memory import borrow, give_back

CACHED = 1 << 20        # bytes of slopes that are computed together: about what a core's own cache holds
COLUMNS = 1024          # steps times rows, at least, in one matrix product for the gradients of the weights


class Kernel:
    """One cell along one sequence: what the way forward keeps and what the way back makes of it.

    A subclass gives `blocks`, the gates in the order in which they lie in memory; `arrays`, what it works in;
    `slots`, where the parts of its state are kept; `forward_views` and `step`, one time step; `slopes`,
    `backward_views` and `step_back`, the same on the way back.
    Steps count in the order of reading: with ``reverse`` step 0 is the last one.
    """

    sigmoids = ""       # the blocks that are gates, the first ones: their rows of V are halved

    def __init__(self, cell, running, reverse):
        """running: (T, B), whether a row has a step t, or None if all have all."""
        self.cell, self.reverse, self.running_rows = cell, reverse, running
        self.names = list(cell.shapes)
        self.running = None if running is None else self.in_reading_order(running)[:, None]
        self.whole = None if running is None else self.running.all(axis=(1, 2))
        self.known, self.wants_xs = (None, None), True

    def in_reading_order(self, xs):
        return xs[::-1] if self.reverse else xs

    # ------------------------------------------------------------ forward
    def forward(self, *arrays):
        """(T + n, B, H), the outputs and then the n parts of the last state, from the parameters, xs and the first state."""
        n = len(self.cell.state_names)
        self.p = dict(zip(self.names, arrays))
        self.xs, states = arrays[-n - 1], arrays[-n:]
        (self.T, self.B, self.I), self.H = self.xs.shape, self.cell.hidden_size
        T, H = self.T, self.H
        self.dtype = self.xs.dtype
        self.half, self.one = np.array(0.5, self.dtype), np.array(1, self.dtype)     # faster for NumPy than 0.5 and 1
        self.allocate()
        self.stack_weights()
        self.Z[:T, H:-1] = self.in_reading_order(self.xs).transpose(0, 2, 1)
        self.Z[:, -1] = 1
        self.prepare()
        slots = self.slots()
        for slot, part in zip(slots, states):
            slot[0] = part.T
        for t, views in enumerate(zip(*self.forward_views())):
            self.step(*views)
            if self.running is not None and not self.whole[t]:
                for slot in slots:                       # a row that has ended keeps its state
                    np.copyto(slot[t + 1], slot[t], where=~self.running[t])
        return self.answer(slots)

    def stack_weights(self):
        """V, the weights of a step, and R (K, nH), those of the way back, which has no halves."""
        H = self.H
        self.R = np.empty((H + self.I + 1, len(self.blocks) * H), self.dtype)
        for rows, parts in zip((self.R[:H], self.R[H:-1], self.R[-1:]), zip(*map(self.weights_of, self.blocks))):
            np.concatenate(parts, axis=1, out=rows)
        self.U = self.R[:H]
        self.V = self.R.T.copy()
        halved = self.V[:len(self.sigmoids) * H]
        halved *= self.half

    def weights_of(self, gate):
        """U, W and b of one gate, in the order of h, x and 1 in Z."""
        return self.p[f"U_{gate}"], self.p[f"W_{gate}"], self.p[f"b_{gate}"][None]

    def answer(self, slots):
        out = np.empty((self.T + len(slots), self.H, self.B), self.dtype)
        hs = self.in_reading_order(out[:self.T])
        hs[:] = slots[0][1:]
        if self.running is not None:
            np.copyto(hs, 0, where=~self.running)
        for last, slot in zip(out[self.T:], slots):
            last[:] = slot[self.T]
        return out.transpose(0, 2, 1)

    def allocate(self):
        """Every array that a run works in, cut from one piece of memory, which the next run may have again."""
        T, H, itemsize = self.T, self.H, self.dtype.itemsize
        self.steps_a_block = min(T, max(1, CACHED // (self.slope_blocks * H * self.B * itemsize)))
        self.steps_a_chunk = min(T, self.steps_a_block * -(-COLUMNS // (self.steps_a_block * self.B)))
        shapes = {"Z": (T + 1, H + self.I + 1), "d_hs": (T, H), "dA": (self.gradient_blocks * H, self.steps_a_chunk),
                  "D": (self.steps_a_block, self.slope_blocks, H), "seen": (H,), **self.arrays()}
        sizes = [-(-self.B * math.prod(shape) // 16) * 16 for shape in shapes.values()]        # whole cache lines
        self.space = borrow(sum(sizes) * itemsize)
        space = self.space[:sum(sizes) * itemsize].view(self.dtype)
        for (name, shape), size, end in zip(shapes.items(), sizes, accumulate(sizes)):
            piece = space[end - size:end - size + self.B * math.prod(shape)]
            setattr(self, name, piece.reshape(*shape, self.B))

    def __del__(self):
        if hasattr(self, "space"):
            give_back(self.space)        # nothing that was handed out is a part of it

    def arrays(self):
        """The shapes, without B, of the arrays of one kind of cell."""
        return {}

    def prepare(self):
        """What is computed before the first step."""

    # ------------------------------------------------------------ backward
    def gradient(self, i, g):
        """The gradient of arrays[i] of `forward`, where g (T + n, B, H) is the gradient of its answer."""
        gradients, of = self.known
        if of is not g:
            gradients = self.backward(g)
            self.known = gradients, g
        return gradients[i]

    def backward(self, g):
        """The gradients of all arrays of `forward`, in their order: (T, B, I) for xs, None if it wants none."""
        g = g.transpose(0, 2, 1)
        self.d_hs[:] = self.in_reading_order(g[:self.T])
        if self.running is not None:
            np.copyto(self.d_hs, 0, where=~self.running)
        d_state = [np.array(part, self.dtype, order="C") for part in g[self.T:]]
        d_params, d_xs = {}, np.empty((self.I, self.T, self.B), self.dtype) if self.wants_xs else None
        for end in range(self.T, 0, -self.steps_a_chunk):
            start = max(0, end - self.steps_a_chunk)
            d_state = self.back_through(start, end, d_state)
            d_a = self.flat(self.dA[:, :end - start])
            for name, part in self.of_params(d_a, start, end).items():
                d_params[name] = np.add(d_params[name], part, d_params[name]) if name in d_params else part
            if self.wants_xs:
                d_xs[:, start:end] = self.of_xs(d_a).reshape(self.I, end - start, self.B)
        named = self.by_name(d_params)
        return [*(named[name] for name in self.names), self.wants_xs and self.in_reading_order(d_xs.transpose(1, 2, 0)),
                *(d.T.copy() for d in d_state)]

    def back_through(self, start, end, d_state):
        """The steps of a chunk, backwards: fills dA (nH, steps, B), the gradients of a, and returns that of the state."""
        for stop in range(end, start, -self.steps_a_block):
            first = max(start, stop - self.steps_a_block)
            D = self.D[:stop - first]
            self.slopes(D, first, stop)
            views = zip(*(view[::-1] for view in self.backward_views(D)))
            for t, d_h, views_of_step in zip(range(stop - 1, first - 1, -1), self.d_hs[first:stop][::-1], views):
                d_state[0] += d_h
                if self.running is None or self.whole[t]:
                    d_state = self.step_back(*d_state, *views_of_step)
                else:
                    running = self.running[t]            # the gradient of a row that has ended waits
                    waiting = [np.where(running, 0, d) for d in d_state]
                    d_state = self.step_back(*(np.where(running, d, 0) for d in d_state), *views_of_step)
                    d_state = [d + w for d, w in zip(d_state, waiting)]
            self.dA[:, first - start:stop - start] = self.gates_of(D).transpose(1, 0, 2)
            d_state = [d.copy() for d in d_state]        # of D, which the next block overwrites
        return d_state

    def of_params(self, d_a, start, end):
        """{"V": δV = Σ_t δa_t Z_tᵀ} of the steps of a chunk; d_a: (nH, steps·B)."""
        return {"V": d_a @ self.side_by_side(self.Z[start:end]).T}

    def of_xs(self, d_a):
        """(I, steps·B)"""
        return self.R[self.H:-1] @ d_a

    def by_name(self, d):
        """{name: gradient} from what `of_params` gave, its sum over the chunks: δV is cut into its blocks."""
        H = self.H
        blocks = [(gate, d["V"][k * H:(k + 1) * H].T) for k, gate in enumerate(self.blocks)]
        return {name: part for gate, block in blocks for name, part in self.parts_of(gate, block)}

    def parts_of(self, gate, d):
        """The inverse of `weights_of`, for gradients."""
        H = self.H
        return (f"U_{gate}", d[:H]), (f"W_{gate}", d[H:-1]), (f"b_{gate}", d[-1])

    def squash(self, a):
        """σ, of what is half its argument."""
        np.tanh(a, a)
        np.multiply(a, self.half, a)
        np.add(a, self.half, a)

    def one_minus_square(self, x, out):
        np.multiply(x, x, out)
        np.subtract(self.one, out, out)

    def flat(self, x):
        """(n, steps, B) as (n, steps·B)."""
        return x.reshape(len(x), -1)

    def side_by_side(self, x):
        """(steps, n, B) as (n, steps·B)."""
        return self.flat(x.transpose(1, 0, 2))


class RNNKernel(Kernel):
    """h = tanh(a) or relu(a); δa = δh ⊙ (1 - h²), or δh where h > 0."""

    blocks = ("h",)
    slope_blocks = gradient_blocks = 1

    def prepare(self):
        self.nonlinearity = np.tanh if self.cell.nonlinearity == "tanh" else relu

    def slots(self):
        return [self.Z[:, :self.H]]

    def forward_views(self):
        return self.Z[:-1], self.Z[1:, :self.H]

    def step(self, z, h):
        self.V.dot(z, h)
        self.nonlinearity(h, h)

    def slopes(self, D, start, end):
        h = self.Z[start + 1:end + 1, :self.H]
        if self.cell.nonlinearity == "tanh":
            self.one_minus_square(h, D[:, 0])
        else:
            D[:, 0] = h > 0

    def backward_views(self, D):
        return (D[:, 0],)

    def step_back(self, d_h, d):
        d *= d_h                                         # δa
        return [self.U.dot(d, d_h)]

    def gates_of(self, D):
        return D[:, 0]


def relu(x, out):
    return np.maximum(x, 0, out=out)


class LSTMKernel(Kernel):
    """The LSTM.

    A_t holds [o, i, f, c_tilde, c_{t-1}], so that i and f stand beside each other, and so does what they multiply:
    c_t = i ⊙ c_tilde + f ⊙ c_{t-1} is a product of two pairs and a sum.
    """

    blocks = ("o", "i", "f", "c")
    sigmoids = "oif"
    gradient_blocks, slope_blocks = 4, 6

    def arrays(self):
        return {"A": (self.T + 1, 5, self.H), "products": (self.T, 2, self.H), "tanh_c": (self.T, self.H)}

    def slots(self):
        return self.Z[:, :self.H], self.A[:, 4]

    def forward_views(self):
        A, H = self.A, self.H
        a = A.reshape(self.T + 1, 5 * H, self.B)[:, :4 * H]
        p = self.products
        return (self.Z[:-1], a, A[:, :3], A[:, 1:3], A[:, 3:], p, p[:, 0], p[:, 1], A[:, 0], A[1:, 4], self.tanh_c,
                self.Z[1:, :H])

    def step(self, z, a, oif, i_f, c_tilde_c, products, i_c_tilde, f_c, o, c, tanh_c, h):
        self.V.dot(z, a)
        np.tanh(a, a)
        np.multiply(oif, self.half, oif)
        np.add(oif, self.half, oif)                      # σ
        np.multiply(i_f, c_tilde_c, products)
        np.add(i_c_tilde, f_c, c)
        np.tanh(c, tanh_c)
        np.multiply(o, tanh_c, h)

    def slopes(self, D, start, end):
        """Blocks [c, o, i, f, c_tilde, keep]: δh ⊙ the first two is what reaches c_t through h_t, and δo;
        δc ⊙ the others is δi, δf, δc_tilde and what reaches c_{t-1}."""
        A, products, tanh_c = self.A[start:end], self.products[start:end], self.tanh_c[start:end]
        o, i, f, c_tilde = (A[:, k] for k in range(4))
        h = self.Z[start + 1:end + 1, :self.H]
        oif = np.subtract(self.one, A[:, :3], D[:, 1:4])
        D[:, 1] *= h                                     # o (1 - o) tanh c, since h = o tanh c
        oif[:, 1:] *= products                           # i (1 - i) c_tilde and f (1 - f) c_{t-1}
        np.multiply(products[:, 0], c_tilde, D[:, 4])
        np.subtract(i, D[:, 4], D[:, 4])                 # i (1 - c_tilde²)
        np.multiply(h, tanh_c, D[:, 0])
        np.subtract(o, D[:, 0], D[:, 0])                 # o (1 - tanh² c)
        D[:, 5] = f

    def backward_views(self, D):
        return D[:, :2], D[:, 0], D[:, 2:], D[:, 5], self.gates_of(D)

    def step_back(self, d_h, d_c, c_o, c, i_f_c_tilde_keep, keep, d_a):
        np.multiply(c_o, d_h, c_o)
        np.add(c, d_c, c)                                # δc
        np.multiply(i_f_c_tilde_keep, c, i_f_c_tilde_keep)
        return [self.U.dot(d_a, d_h), keep]

    def gates_of(self, D):
        return D.reshape(len(D), 6 * self.H, self.B)[:, self.H:5 * self.H]


class DiagonalPeepholeKernel(LSTMKernel):
    """The peephole LSTM: each gate also sees its own cell, P ⊙ c. On the way back that changes only the slopes of c."""

    def prepare(self):
        o, i, f = (np.repeat(self.p[f"P_{gate}"][:, None], self.B, axis=1) for gate in "oif")       # (H, B)
        self.P_o, self.P_if = o, np.stack([i, f])
        self.half_P_o, self.half_P_if = self.half * self.P_o, self.half * self.P_if

    def forward_views(self):
        z, a, _, *others = super().forward_views()
        return z, a, self.A[:, 1:4], self.A[:, 4], *others

    def step(self, z, a, ifc_tilde, c_old, i_f, c_tilde_c, products, i_c_tilde, f_c, o, c, tanh_c, h):
        self.V.dot(z, a)
        np.add(i_f, self.look(self.half_P_if, c_old, products), i_f)
        np.tanh(ifc_tilde, ifc_tilde)
        np.multiply(i_f, self.half, i_f)
        np.add(i_f, self.half, i_f)
        np.multiply(i_f, c_tilde_c, products)
        np.add(i_c_tilde, f_c, c)
        np.tanh(c, tanh_c)
        np.add(o, self.look(self.half_P_o, c, self.seen), o)       # the output gate sees the new c
        self.squash(o)
        np.multiply(o, tanh_c, h)

    def look(self, P, c, out):
        return np.multiply(P, c, out)

    def slopes(self, D, start, end):
        super().slopes(D, start, end)
        D[:, 0] += self.P_o * D[:, 1]
        for k, P in enumerate(self.P_if):
            D[:, 5] += P * D[:, 2 + k]

    def of_params(self, d_a, start, end):
        d_o, d_i, d_f, _ = np.split(d_a, 4)
        old, new = (self.side_by_side(self.A[first:first + end - start, 4]) for first in (start, start + 1))
        return super().of_params(d_a, start, end) | {"P_i": self.of_P(old, d_i), "P_f": self.of_P(old, d_f), "P_o": self.of_P(new, d_o)}

    def of_P(self, c, d):
        return np.einsum("hn,hn->h", c, d)

    def by_name(self, d):
        return super().by_name(d) | {name: part for name, part in d.items() if name != "V"}


class FullPeepholeKernel(DiagonalPeepholeKernel):
    """Each gate sees all cells, c P: two more matrix products a step, and two on the way back."""

    def prepare(self):
        self.P_o, self.P_if = self.p["P_o"], np.concatenate([self.p["P_i"], self.p["P_f"]], axis=1)      # (H, H), (H, 2H)
        self.half_P_o, self.half_P_if = self.half * self.P_o.T, self.half * self.P_if.T

    def look(self, P, c, out):
        P.dot(c, out.reshape(-1, self.B))
        return out

    def slopes(self, D, start, end):
        LSTMKernel.slopes(self, D, start, end)

    def backward_views(self, D):
        return *super().backward_views(D), D[:, 1], D.reshape(len(D), -1, self.B)[:, 2 * self.H:4 * self.H]

    def step_back(self, d_h, d_c, c_o, c, i_f_c_tilde_keep, keep, d_a, d_o, d_if):
        np.multiply(c_o, d_h, c_o)
        np.add(c, d_c, c)
        np.add(c, self.P_o.dot(d_o, self.seen), c)
        np.multiply(i_f_c_tilde_keep, c, i_f_c_tilde_keep)
        np.add(keep, self.P_if.dot(d_if, self.seen), keep)
        return [self.U.dot(d_a, d_h), keep]

    def of_P(self, c, d):
        return c @ d.T


class GRUKernel(Kernel):
    """The GRU whose reset acts after the matmul: h_tilde = tanh(w + r ⊙ u) with w = x W_h + b_h, u = h U_h + b_U.

    A_t holds [z, r, u]; N_t first w, then h_tilde. Here z always takes the new: where it keeps the old, its weights
    and their gradients change sign, σ(-a) = 1 - σ(a).
    """

    blocks = ("z", "r", "u")
    sigmoids = "zr"
    gradient_blocks, slope_blocks = 4, 5

    def weights_of(self, gate):
        if gate == "u":
            return self.p["U_h"], np.zeros_like(self.p["W_h"]), self.p["b_U"][None]
        return tuple(self.sign(gate) * part for part in super().weights_of(gate))

    def sign(self, gate):
        return self.dtype.type(-1 if gate == "z" and self.cell.update == "old" else 1)

    def arrays(self):
        return {"A": (self.T, len(self.blocks), self.H), "N": (self.T, self.H)}

    def prepare(self):
        p = self.p
        np.matmul(np.concatenate([p["W_h"], p["b_h"][None]]).T, self.Z[:-1, self.H:], self.N)

    def slots(self):
        return [self.Z[:, :self.H]]

    def forward_views(self):
        A, H = self.A, self.H
        return (self.Z[:-1], A.reshape(self.T, -1, self.B), A[:, :2], A[:, 0], A[:, 1], A[:, -1], self.N,
                self.Z[:-1, :H], self.Z[1:, :H])

    def step(self, Z, a, zr, z, r, u, h_tilde, h, h_new):
        self.V.dot(Z, a)
        self.squash(zr)
        np.add(h_tilde, np.multiply(r, u, self.seen), h_tilde)
        self.next_h(z, h_tilde, h, h_new)

    def next_h(self, z, h_tilde, h, h_new):
        np.tanh(h_tilde, h_tilde)
        np.subtract(h_tilde, h, h_new)                   # h_t = h_{t-1} + z ⊙ (h_tilde - h_{t-1})
        np.multiply(h_new, z, h_new)
        np.add(h_new, h, h_new)

    def slopes(self, D, start, end):
        """Blocks [keep, h_tilde, z, r, u]: δh ⊙ them is what goes straight to h_{t-1}, δh_tilde (that of w), δz, δr and δu."""
        A, h_tilde, h = self.A[start:end], self.N[start:end], self.Z[start:end, :self.H]
        z, r = A[:, 0], A[:, 1]
        keep = np.subtract(self.one, z, D[:, 0])
        self.one_minus_square(h_tilde, D[:, 1])
        D[:, 1] *= z
        np.subtract(h_tilde, h, D[:, 2])
        D[:, 2] *= z
        D[:, 2] *= keep
        self.slopes_of_reset(D, A, r, h)

    def slopes_of_reset(self, D, A, r, h):
        np.multiply(D[:, 1], r, D[:, 4])
        np.subtract(self.one, r, D[:, 3])
        D[:, 3] *= D[:, 4]
        D[:, 3] *= A[:, 2]

    def backward_views(self, D):
        return D, D[:, 0], D.reshape(len(D), -1, self.B)[:, 2 * self.H:]

    def step_back(self, d_h, D, keep, d_zru):
        np.multiply(D, d_h, D)
        return [np.add(keep, self.U.dot(d_zru, self.seen), keep)]

    def gates_of(self, D):
        return D.reshape(len(D), -1, self.B)[:, self.H:(1 + self.gradient_blocks) * self.H]

    def of_params(self, d_a, start, end):
        """δV of z, r and u, and δw of the candidate's W_h and b_h."""
        H, Z = self.H, self.side_by_side(self.Z[start:end])
        return {"V": d_a[H:] @ Z.T, "w": d_a[:H] @ Z[H:].T}

    def of_xs(self, d_a):
        H = self.H
        W_h, W_z, W_r = self.p["W_h"], self.R[H:-1, :H], self.R[H:-1, H:2 * H]
        return np.concatenate([W_h, W_z, W_r], axis=1) @ d_a[:3 * H]

    def by_name(self, d):
        return super().by_name(d) | {"W_h": d["w"][:, :-1].T, "b_h": d["w"][:, -1]}

    def parts_of(self, gate, d):
        if gate == "u":
            return ("U_h", d[:self.H]), ("b_U", d[-1])
        return super().parts_of(gate, self.sign(gate) * d)


class GRUBeforeKernel(GRUKernel):
    """The GRU whose reset acts before the matmul: h_tilde = tanh(w + (r ⊙ h) U_h). Q_t holds r ⊙ h."""

    blocks = ("z", "r")
    gradient_blocks = 3

    def arrays(self):
        return super().arrays() | {"Q": (self.T, self.H)}

    def prepare(self):
        super().prepare()
        self.U_h = self.p["U_h"].T.copy()

    def forward_views(self):
        Z, a, zr, z, r, _, h_tilde, h, h_new = super().forward_views()
        return Z, a, zr, z, r, self.Q, h_tilde, h, h_new

    def step(self, Z, a, zr, z, r, q, h_tilde, h, h_new):
        self.V.dot(Z, a)
        self.squash(zr)
        np.multiply(r, h, q)
        np.add(h_tilde, self.U_h.dot(q, self.seen), h_tilde)
        self.next_h(z, h_tilde, h, h_new)

    def slopes_of_reset(self, D, A, r, h):
        """The last two blocks wait for the gradient of r ⊙ h: δr, and what goes through r to h_{t-1}."""
        np.subtract(self.one, r, D[:, 3])
        D[:, 3] *= r
        D[:, 3] *= h
        D[:, 4] = r

    def backward_views(self, D):
        flat = D.reshape(len(D), -1, self.B)
        return D[:, :3], D[:, 0], D[:, 1], D[:, 3:], D[:, 4], flat[:, 2 * self.H:4 * self.H]

    def step_back(self, d_h, keep_h_tilde_z, keep, d_h_tilde, r_through, through, d_zr):
        np.multiply(keep_h_tilde_z, d_h, keep_h_tilde_z)
        d_q = self.p["U_h"].dot(d_h_tilde, self.seen)
        np.multiply(r_through, d_q, r_through)
        np.add(keep, through, keep)
        return [np.add(keep, self.U.dot(d_zr, self.seen), keep)]

    def of_params(self, d_a, start, end):
        return super().of_params(d_a, start, end) | {"U_h": d_a[:self.H] @ self.side_by_side(self.Q[start:end]).T}

    def by_name(self, d):
        return super().by_name(d) | {"U_h": d["U_h"].T}


def kernel_for(cell, running, reverse):
    """The kernel of a built-in cell, or None: a class derived from one may have other equations."""
    if type(cell) is GRUCell:
        return (GRUKernel if cell.reset == "after" else GRUBeforeKernel)(cell, running, reverse)
    if type(cell) is PeepholeLSTMCell:
        return (DiagonalPeepholeKernel if cell.peephole == "diagonal" else FullPeepholeKernel)(cell, running, reverse)
    kernel = {RNNCell: RNNKernel, LSTMCell: LSTMKernel}.get(type(cell))
    return kernel and kernel(cell, running, reverse)
