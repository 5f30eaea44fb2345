"""``/v1``: this project's own protocol."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from ppcls_sspcab.serving.models import ServedModel
from ppcls_sspcab.serving.routes.answers import Prediction, prediction_of, problems
from ppcls_sspcab.serving.routes.requests import caller_of, model_of, submitted_pictures
from ppcls_sspcab.serving.service import Service

Text = Annotated[str, Query(max_length=200)]

_BINARY = {"type": "string", "format": "binary"}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A picture file, or a form whose file parts are pictures.",
        "content": {
            "application/octet-stream": {"schema": _BINARY},
            "image/png": {"schema": _BINARY},
            "image/jpeg": {"schema": _BINARY},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"pictures": {"type": "array", "items": _BINARY}},
                    "required": ["pictures"],
                }
            },
        },
    }
}


class ModelAnswer(BaseModel):
    """A served model."""

    name: str
    category: str
    version: str
    backend: str
    precision: str
    image_size: tuple[int, int] = Field(description="height and width of the network's input")
    threshold: float
    has_maps: bool


class Models(BaseModel):
    """All served models."""

    models: list[ModelAnswer]


def router(service: Service) -> APIRouter:
    """The routes below ``/v1/models``."""
    routes = APIRouter(prefix="/v1/models", tags=["v1"])

    @routes.get("", responses=problems())
    async def models() -> Models:
        """Lists the models."""
        return Models(models=[_described(model) for model in service.models.values()])

    @routes.get("/{name}", responses=problems(404))
    async def model(name: str) -> ModelAnswer:
        """Describes one model."""
        return _described(model_of(service, name))

    @routes.post(
        "/{name}/predict",
        responses={
            422: {"model": Prediction, "description": "no picture could be judged"},
            **problems(400, 404),
        },
        openapi_extra=_BODY,
    )
    async def predict(
        request: Request,
        response: Response,
        name: str,
        maps: bool = False,
        path: Text = "",
        station: Text = "",
        serial: Text = "",
    ) -> Prediction:
        """Judges the pictures of the body; the answer is 422 where none of them could be."""
        chosen = model_of(service, name)
        pictures = await submitted_pictures(request, service.settings.pictures, path)
        caller = caller_of(request, station, serial)
        found = await service.inspector.inspect(chosen, pictures, caller)
        answer = prediction_of(caller.request_id, found, maps)
        if answer.unjudged == len(found):
            response.status_code = 422
        return answer

    return routes


def _described(model: ServedModel) -> ModelAnswer:
    card = model.predictor.card
    return ModelAnswer(
        name=model.name,
        category=card.category,
        version=model.version,
        backend=model.predictor.backend,
        precision=model.precision,
        image_size=card.preprocess.image_size,
        threshold=model.predictor.threshold,
        has_maps=model.has_maps,
    )
