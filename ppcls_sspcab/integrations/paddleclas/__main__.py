"""Runs a PaddleClas script with the plug-in installed.

    python -m ppcls_sspcab.integrations.paddleclas PADDLECLAS/tools/train.py -c our.yaml -o K=V

``train``, ``eval``, ``infer`` or ``export`` in place of a script does what ``tools/train.py``,
``tools/eval.py``, ``tools/infer.py`` and ``tools/export_model.py`` do, with the PaddleClas of
``PADDLECLAS_HOME`` or the one on the path; ``list`` prints every injected name.

Exit codes: the script's own, else those of :func:`ppcls_sspcab.utils.program.run_program`.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from ppcls_sspcab.errors import UserError
from ppcls_sspcab.utils.launcher import launch
from ppcls_sspcab.utils.paddle_import import import_paddle
from ppcls_sspcab.utils.program import run_program

VERBS = ("train", "eval", "infer", "export")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``arguments``: a script (or a verb, or ``list``) and its own arguments.

    Returns:
        the exit code.
    """
    return run_program(lambda: _run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0 if words else 2
    launch()
    import_paddle()
    if words[0] == "list":
        _list()
    elif words[0] in VERBS:
        _run_verb(words[0], words[1:])
    else:
        _run_script(words[0], words[1:])
    return 0


def _list() -> None:
    from ppcls_sspcab.integrations.paddleclas import install

    for entry in install():
        print(f"{entry.module}.{entry.name}\t{entry.how}\t{entry.used_by}")


def _run_verb(verb: str, arguments: list[str]) -> None:
    from ppcls_sspcab.integrations.paddleclas import install
    from ppcls_sspcab.utils.paddleclas import require_module

    install()
    reader = require_module("utils.config")
    sys.argv = [verb, *arguments]
    options = reader.parse_args()
    config = reader.get_config(options.config, overrides=options.override, show=False)
    config.profiler_options = options.profiler_options
    getattr(require_module("engine.engine").Engine(config, mode=verb), verb)()


def _run_script(script: str, arguments: list[str]) -> None:
    from ppcls_sspcab.integrations.paddleclas import install

    path = Path(script)
    if not path.is_file():
        raise UserError(f"{script}: no such script; give one of PaddleClas's tools/*.py")
    root = path.resolve().parent.parent
    # As if Python had been called with the script: it finds its neighbours, and its checkout.
    sys.argv = [script, *arguments]
    sys.path[0] = str(path.resolve().parent)
    install(root if (root / "ppcls").is_dir() and "PADDLECLAS_HOME" not in os.environ else None)
    runpy.run_path(str(path), run_name="__main__")


if __name__ == "__main__":
    sys.exit(main())
