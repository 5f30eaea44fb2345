"""Runs the plug-in's program and writes down every loss that PaddleClas's loop logs.

recorder.py LOSSES.json '[["train", "-c", "a.yaml"], ["eval", "-c", "a.yaml"]]'
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def record() -> list[dict[str, float]]:
    from ppcls.engine.train import train

    original, losses = train.update_loss, []

    def update_loss(trainer: object, loss_dict: dict, batch_size: int) -> None:
        losses.append({name: float(value) for name, value in loss_dict.items()})
        original(trainer, loss_dict, batch_size)

    train.update_loss = update_loss
    return losses


if __name__ == "__main__":
    target, words = Path(sys.argv[1]), json.loads(sys.argv[2])
    if "BUILTIN" in os.environ:
        from ppcls_sspcab.cli.main import main

        losses = []
    else:
        from ppcls_sspcab.integrations.paddleclas import install
        from ppcls_sspcab.integrations.paddleclas.__main__ import main

        install()
        losses = record()
    for command in words:
        code = main(command)
        if code:
            sys.exit(code)
    import paddle

    Path(f"{target}.{paddle.distributed.get_rank()}").write_text(json.dumps(losses))
