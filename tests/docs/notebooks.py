"""Runs the code cells of a notebook in order, as Jupyter would, without a kernel.

``python -m tests.docs.notebooks examples/NAME.ipynb`` stores the outputs in the notebook.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["Cell", "Output", "code_cells", "read_notebook", "run_cell", "source_of"]

Cell = dict[str, Any]
Output = dict[str, Any]

_MIME_OF_METHOD = {"_repr_html_": "text/html", "_repr_svg_": "image/svg+xml"}


def read_notebook(path: Path) -> dict[str, Any]:
    """Return a notebook of format 4."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    return notebook


def code_cells(notebook: dict[str, Any]) -> list[Cell]:
    """Return the code cells in their order."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source_of(cell: Cell) -> str:
    """Return the text of a cell."""
    return "".join(cell["source"])


def run_cell(cell: Cell, names: dict[str, Any], number: int) -> list[Output]:
    """Run a cell with the ``names`` that earlier ones defined, and return its outputs."""
    tree = ast.parse(source_of(cell))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"cell {number}", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
    outputs: list[Output] = []
    if text := printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": _lines(text)})
    if value is not None and not source_of(cell).rstrip().endswith(";"):
        data = {"text/plain": _lines(repr(value))}
        for method, mime in _MIME_OF_METHOD.items():
            if hasattr(value, method):
                data[mime] = _lines(getattr(value, method)())
        outputs.append(
            {
                "data": data,
                "execution_count": number,
                "metadata": {},
                "output_type": "execute_result",
            }
        )
    return outputs


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main(path: Path) -> None:
    """Run the notebook and store its outputs."""
    notebook, names = read_notebook(path), {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(notebook), 1):
        cell["outputs"] = run_cell(cell, names, number)
        cell["execution_count"] = number
    path.write_text(
        json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
