"""The parts of a running service, opened and closed together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ppcls_sspcab.serving.inspections.log import InspectionLog
from ppcls_sspcab.serving.inspections.pictures import PictureStore
from ppcls_sspcab.serving.inspector import Inspector
from ppcls_sspcab.serving.metrics import Metrics
from ppcls_sspcab.serving.models import ServedModel, open_models
from ppcls_sspcab.serving.settings import Settings

GIB = 1 << 30


@dataclass
class Service:
    """What every route of the service works with.

    Attributes:
        settings: what was asked for.
        models: by name.
        log: the inspections.
        store: the kept pictures; None where none are kept.
        metrics: what Prometheus reads.
        inspector: the one way to a verdict.
        stopping: set when no more work should come.
    """

    settings: Settings
    models: Mapping[str, ServedModel]
    log: InspectionLog
    store: PictureStore | None
    metrics: Metrics
    inspector: Inspector
    stopping: bool = False

    @classmethod
    def open(cls, settings: Settings) -> Service:
        """Loads the models and opens the database.

        Raises:
            UserError: a model, a database or a folder that cannot be used.
        """
        store = None
        if settings.store is not None:
            size = None if settings.keep_gib is None else int(settings.keep_gib * GIB)
            store = PictureStore(settings.store, settings.keep, settings.keep_days, size)
        models = open_models(settings)
        log = InspectionLog(settings.database)
        metrics = Metrics(models)
        inspector = Inspector(log, store, metrics, settings.most_pixels)
        return cls(settings, models, log, store, metrics, inspector)

    def troubles(self) -> list[str]:
        """Why the service is not ready; empty where it is."""
        found = [
            f"model {name}: its network failed"
            for name, model in self.models.items()
            if not model.batcher.healthy
        ]
        if not self.log.healthy():
            found.append("the database does not answer")
        if self.stopping:
            found.append("the service is stopping")
        return found

    def close(self) -> None:
        """Finishes what was taken: networks first, then the rows."""
        self.stopping = True
        for model in self.models.values():
            model.batcher.close()
        self.inspector.close()
        self.log.close()
