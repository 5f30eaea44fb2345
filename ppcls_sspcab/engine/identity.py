"""What decides the weights of a training, so that a resumed run is the same run or says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ppcls_sspcab.config.config import Config
from ppcls_sspcab.config.settled import TRAINED, flat_values
from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.utils.distributed import ranks

PICTURES = "pictures"
_TRAINING = (*TRAINED, "Tolerance")
_GLOBAL = ("category", "seed", "epochs", "iter_per_epoch", "freeze_steps", "model_selection")
# They decide the weights where epochs are validated.
_SELECTING = ("Density", "Score", "Localize")
_SELECTING_GLOBAL = ("eval_interval", "start_eval_epoch")
_SHOWN = 5


def training_identity(config: Config) -> dict[str, Any]:
    """The values that decide the weights, by dotted key, all defaults among them.

    Left out is what changes no result (folders, logs, speed), and where the first weights came
    from, which a checkpoint has. Where the pictures lie counts no more than their contents do.
    """
    whole = config.model_dump(mode="json")
    run, train = whole["Global"], whole["DataLoader"]["Train"]
    selects = config.Global.model_selection == "val_synthetic"
    sections = {name: whole[name] for name in _TRAINING + _SELECTING * selects}
    sections["Global"] = {name: run[name] for name in _GLOBAL + _SELECTING_GLOBAL * selects}
    sections["DataLoader"] = {
        "Train": {
            "dataset": {"transform_ops": train["dataset"].get("transform_ops")},
            "sampler": {"batch_size": train["sampler"]["batch_size"] * ranks()},
        }
    }
    return flat_values(sections)


def refuse_changes(
    old: Mapping[str, Any], new: Mapping[str, Any], allowed: Sequence[str], checkpoint: str
) -> None:
    """Raises ModelError, which names what changed, unless ``allowed`` names it or its section.

    Args:
        old: what the checkpoint was made with. new: this run's; as :func:`training_identity`, and
            under ``pictures`` the contents of the pictures in their order.
        checkpoint: its path, for the error.
    """
    changed = [
        key
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
        and not any(key == name or key.startswith(f"{name}.") for name in allowed)
    ]
    if changed:
        said = [_change(key, old.get(key), new.get(key)) for key in changed[:_SHOWN]]
        more = f"; and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise ModelError(
            f"{checkpoint}: was made with {'; '.join(said)}{more}: resume with the same, train "
            "anew, or allow the change: "
            f"Global.resume_changes=[{', '.join(changed[:_SHOWN])}]"
        )


def _change(key: str, old: Any, new: Any) -> str:
    if key != PICTURES:
        return f"{key} = {old!r}, this run has {new!r}"
    before, now = Counter(old or ()), Counter(new or ())
    text = f"{len(old or ())} pictures to train on"
    if before == now:
        return f"{text}, this run has the same in another order (of their names)"
    others, gone = (now - before).total(), (before - now).total()
    return f"{text}, this run has {others} others and lacks {gone}"
