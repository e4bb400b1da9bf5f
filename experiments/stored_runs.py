"""Runs of an experiment, kept one by one in a small json file, so that only those that are missing are computed.

Each run is a dict: what it was asked for (``seed`` and the like), what came out, and the versions it ran with.
"""
import json
import os
import platform
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np  # noqa: E402  (after the number of threads is set)
from tqdm import tqdm  # noqa: E402

import minigrad as mg  # noqa: E402
from minigrad.files import replace_file  # noqa: E402


def versions():
    return {"python": platform.python_version(), "numpy": np.__version__, "minigrad": mg.__version__}


def load(path, settings):
    """The runs stored at ``path``, a list. Raises ValueError if they were made with other settings."""
    if not Path(path).exists():
        return []
    stored = json.loads(Path(path).read_text(encoding="utf-8"))
    if stored["settings"] != settings:
        raise ValueError(f"{path} was made with the settings {stored['settings']}, not {settings}: "
                         "delete it, or write to another file")
    return stored["runs"]


def store(path, settings, runs):
    """Write the settings and the runs, one run a line; the file is complete, or the old one stays."""
    lines = ",\n  ".join(json.dumps(run) for run in runs)
    text = f'{{"settings": {json.dumps(settings)},\n "runs": [\n  {lines}\n ]}}\n'
    replace_file(path, lambda file: file.write(text.encode()))


def complete(path, settings, asked, run, jobs=1):
    """Compute ``run(**arguments)`` for all dicts in ``asked`` that the file does not hold yet; return all its runs.

    run: returns a dict of results, and can be pickled. jobs: how many processes. Every result is stored as soon as
    it is there, so what was finished before a Ctrl-C is not computed again.
    """
    runs = load(path, settings)

    def done(arguments):
        return any(arguments.items() <= kept.items() for kept in runs)

    missing = [arguments for arguments in asked if not done(arguments)]
    with ProcessPoolExecutor(jobs) as pool, tqdm(total=len(asked), initial=len(asked) - len(missing), desc="runs") as bar:
        waiting = {pool.submit(run, **arguments): arguments for arguments in missing}
        try:
            for ended in as_completed(waiting):
                runs.append(waiting[ended] | ended.result() | {"versions": versions()})
                runs.sort(key=lambda kept: [kept[name] for name in asked[0]])      # the file does not tell who was first
                store(path, settings, runs)
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return runs
