"""What a stored notebook must be, beyond what running it again can show.

The comparison of outputs passes over a cell that was never run, and cannot know that a widget
hangs now and then, or that a path names somebody's folder. `problems` says all of that.
"""

import ast
import re
import socket

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbval.plugin import comment_markers, metadata_tags

from run_notebooks import normalise

# Tags that change how a cell is compared, each with the reason why it may be used anywhere.
ALLOWED_TAGS = {
    "raises-exception": "the cell shows an error message; its type and text are compared",
}
# Cells whose output may not be compared: (notebook, cell id) and why nothing else would do.
UNCOMPARED = {}

# Each hangs or differs between runs; `observe` with an HTML or Image widget does neither.
BANNED_CALLS = {
    "interact": "use `observe` and a widget that holds the result",
    "interact_manual": "use `observe` and a widget that holds the result",
    "interactive": "use `observe` and a widget that holds the result",
    "interactive_output": "use `observe` and a widget that holds the result",
    "Output": "use an HTML or Image widget",
    "clear_output": "write the final output only",
    "update_display": "write the final output only",
}
OUTPUT_PATTERNS = {
    "an absolute path": re.compile(
        r"(?<![\w.:/])/(?:home|Users|root|tmp|work|usr|opt|var|mnt|srv|private|content)/|\b[A-Z]:\\\w"
    ),
    "a host": re.compile(r"https?://(?!www\.w3\.org/)|\blocalhost\b|\b\d{1,3}(?:\.\d{1,3}){3}\b"),
    "a memory address": re.compile(r"\b0x[0-9a-fA-F]{6,}\b"),
    "a number with more than six decimals, which differs between machines": re.compile(r"\d\.\d{7,}"),
}


def code_cells(notebook):
    """[(number, cell)] of the code cells, numbered as a reader sees them."""
    return list(enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), start=1))


def syntax(cell):
    """The cell's syntax tree, its magics turned into calls; None where it is no Python on purpose."""
    try:
        return ast.parse(TransformerManager().transform_cell(cell.source))
    except SyntaxError:
        return None


def called(node):
    """The last name of what is called: `display` for `IPython.display.display(...)`."""
    return getattr(node.func, "attr", getattr(node.func, "id", None))


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)] if tree else []


def order(notebook):
    """Every code cell was run, from the first to the last, in one go."""
    for number, cell in code_cells(notebook):
        if not cell.source.strip():
            yield f"code cell {number} is empty"
        elif cell.execution_count is None:
            yield f"code cell {number} was never run"
        elif cell.execution_count != number:
            yield f"code cell {number} has execution count {cell.execution_count}, so the cells were not run in order"


def expected_outputs(notebook):
    """A cell that prints or shows has something stored."""
    for number, cell in code_cells(notebook):
        tree = syntax(cell)
        plain = [node.value for node in getattr(tree, "body", []) if isinstance(node, ast.Expr)]
        names = {called(node) for node in plain if isinstance(node, ast.Call)}
        kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
        if "print" in names and not any(output.output_type == "stream" for output in cell.outputs):
            yield f"code cell {number} prints, but no printed output is stored"
        if "show" in names and not any(kind.startswith("image/") for kind in kinds):
            yield f"code cell {number} shows a figure, but no image is stored"


def uncompared(notebook, name):
    """Nothing is kept from comparison without a reason on the lists above."""
    for number, cell in code_cells(notebook):
        comments = {line.strip().lstrip("#").strip() for line in cell.source.splitlines() if line.strip().startswith("#")}
        found = {tag for tag in cell.metadata.get("tags", []) if tag in metadata_tags or "nbval" in tag.lower()}
        found |= comments & set(comment_markers)
        for tag in sorted(found - set(ALLOWED_TAGS)):
            if tag != "nbval-ignore-output" or (name, cell.id) not in UNCOMPARED:
                yield f"code cell {number} has the tag {tag}, which needs a reason in book/tools/notebook_rules.py"


def banned(notebook):
    """Nothing that hangs or differs when it is run again."""
    for number, cell in code_cells(notebook):
        for node in calls(syntax(cell)):
            name = called(node)
            if name in BANNED_CALLS:
                yield f"code cell {number} calls {name}: {BANNED_CALLS[name]}"
            if name == "display" and any(keyword.arg == "display_id" for keyword in node.keywords):
                yield f"code cell {number} displays with a display_id: write the final output only"
            if name == "update" and isinstance(node.func.value, ast.Call) and called(node.func.value) == "display":
                yield f"code cell {number} calls display(...).update: write the final output only"


def texts(cell):
    """Every text that a cell's outputs show; pictures and stored widgets are no text."""
    for output in cell.outputs:
        yield output.get("text", "")
        yield output.get("evalue", "")
        yield from output.get("traceback", [])
        for kind, data in output.get("data", {}).items():
            if kind.startswith("text/"):
                yield data


def machine(notebook):
    """No output says on which machine it was made, or warns."""
    name = socket.gethostname()
    for number, cell in code_cells(notebook):
        shown = "\n".join(texts(cell))
        for what, pattern in OUTPUT_PATTERNS.items():
            found = pattern.search(shown)
            if found:
                yield f"code cell {number} shows {what}: {shown[max(0, found.start() - 20) : found.end() + 30]!r}"
        if len(name) > 3 and re.search(rf"\b{re.escape(name)}\b", shown):
            yield f"code cell {number} shows this machine's name"
        if any(output.get("name") == "stderr" for output in cell.outputs):
            yield f"code cell {number} writes to stderr, as a warning does: mend its cause"


def described(notebook):
    """Every figure says in words what it shows."""
    for number, cell in code_cells(notebook):
        images = any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {}))
        if images and not cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "").strip():
            yield f'code cell {number} shows a figure without alt text: "mystnb": {{"image": {{"alt": "..."}}}} in its metadata'


def normal_form(notebook, text):
    """The file is as `make notebooks` writes it."""
    if nbformat.writes(normalise(notebook)) + "\n" != text:
        yield "it is not in the stored form: run `make notebooks NB=...`"


def problems(text, name):
    """Everything that is wrong with the notebook of this name and text; an empty list when nothing is."""
    notebook = nbformat.reads(text, as_version=4)
    return [
        *order(notebook),
        *expected_outputs(notebook),
        *uncompared(notebook, name),
        *banned(notebook),
        *machine(notebook),
        *described(notebook),
        *normal_form(notebook, text),
    ]
