"""What the routes answer: the models of OpenAPI, and how rows become them."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any, Literal

from fastapi import status
from pydantic import BaseModel, Field

from ppcls_sspcab.image.drawing import png_of, sixteen_bit
from ppcls_sspcab.serving.inspections.record import Inspection
from ppcls_sspcab.serving.inspector import Inspected

Verdict = Literal["good", "anomalous", "unjudged"]


class Problem(BaseModel):
    """Why there is no other answer."""

    error: str


class Timings(BaseModel):
    """Milliseconds: decoding, waiting for others, and the network's run with its whole batch."""

    decode_ms: float
    queue_ms: float
    network_ms: float


class InspectionAnswer(BaseModel):
    """One inspection: the record of ``predict``, and where it came from."""

    id: str
    time: datetime
    model: str
    model_version: str
    backend: str
    precision: str
    request_id: str
    path: str = Field(description="what the caller called the picture")
    sha256: str = Field(description="of the picture as it was sent")
    station: str
    serial: str
    verdict: Verdict
    score: float | None
    normalized_score: float | None = Field(description="0 to 1, 0.5 at the threshold")
    threshold: float | None
    is_anomaly: bool | None = Field(description="null: the picture could not be judged")
    error: str = Field(description="why it could not be judged")
    kept: bool = Field(description="whether the picture itself is kept")
    timings: Timings
    map_png: str | None = Field(
        default=None,
        description="on request: the anomaly map at network size as a 16-bit PNG in base64; 65535 "
        "times the value, so 32768 at the pixel threshold",
    )


class Prediction(BaseModel):
    """The inspections of a request's pictures, in their order, and their verdicts, counted."""

    request_id: str
    good: int
    anomalous: int
    unjudged: int
    inspections: list[InspectionAnswer]


Responses = dict[int | str, dict[str, Any]]

_TEXTS = {
    status.HTTP_400_BAD_REQUEST: "the request is malformed",
    status.HTTP_401_UNAUTHORIZED: "a token is needed",
    status.HTTP_403_FORBIDDEN: "the token's role is not enough, or the request is another site's",
    status.HTTP_404_NOT_FOUND: "there is none of that name",
    status.HTTP_408_REQUEST_TIMEOUT: "the body did not come in time",
    status.HTTP_413_CONTENT_TOO_LARGE: "too many bytes or pictures",
    status.HTTP_429_TOO_MANY_REQUESTS: "too many requests from this address",
    status.HTTP_503_SERVICE_UNAVAILABLE: "busy, or the verdict could not be stored; ask again",
    status.HTTP_504_GATEWAY_TIMEOUT: "there was no answer in time",
}


def problems(*codes: int) -> Responses:
    """OpenAPI's entries of these answers, beside those that every route may give."""
    always = (401, 403, 408, 413, 429, 503, 504)
    found: Responses = {"4XX": {"model": Problem, "description": "the request cannot be answered"}}
    for code in (*codes, *always):
        found[code] = {"model": Problem, "description": _TEXTS[code]}
    return found


def answer_of(inspection: Inspection) -> InspectionAnswer:
    """A row as it is answered."""
    return InspectionAnswer(
        id=inspection.id,
        time=inspection.time,
        model=inspection.model,
        model_version=inspection.model_version,
        backend=inspection.backend,
        precision=inspection.precision,
        request_id=inspection.request_id,
        path=inspection.name,
        sha256=inspection.sha256,
        station=inspection.station,
        serial=inspection.serial,
        verdict=inspection.verdict,
        score=inspection.score,
        normalized_score=inspection.normalized_score,
        threshold=inspection.threshold,
        is_anomaly=inspection.is_anomaly,
        error=inspection.error,
        kept=bool(inspection.picture),
        timings=Timings(
            decode_ms=inspection.decode_ms,
            queue_ms=inspection.queue_ms,
            network_ms=inspection.network_ms,
        ),
    )


def prediction_of(request_id: str, found: list[Inspected], maps: bool) -> Prediction:
    """The answer to a request.

    Args:
        maps: with the anomaly maps, of those that have one.
    """
    answers = []
    for one in found:
        answer = answer_of(one.inspection)
        if maps and one.map is not None:
            answer.map_png = base64.b64encode(png_of(sixteen_bit(one.map))).decode()
        answers.append(answer)
    verdicts = [answer.verdict for answer in answers]
    return Prediction(
        request_id=request_id,
        good=verdicts.count("good"),
        anomalous=verdicts.count("anomalous"),
        unjudged=verdicts.count("unjudged"),
        inspections=answers,
    )
