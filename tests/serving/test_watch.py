"""What Prometheus reads, held to its own parser, and health that tells the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from served import picture, running, settings_for

PREDICT = "/v1/models/lamp/predict"


def samples(text: str) -> dict[tuple[str, frozenset], float]:
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_counts_times_queue_version_and_drift(model: Path, tmp_path: Path) -> None:
    with running(settings_for(model, tmp_path)) as served, served.client() as client:
        before = samples(client.get("/metrics").text)

        def named(found: dict, name: str, **labels: str) -> float:
            return found[name, frozenset(labels.items())]

        for verdict in ("good", "anomalous", "unjudged"):
            zero = named(before, "sspcab_inspections_total", model="lamp", verdict=verdict)
            assert zero == 0
        scores = []
        for content in (picture(20), picture(40), picture(250), b"no picture"):
            one = client.post(PREDICT, content=content).json()["inspections"][0]
            scores.append(one["normalized_score"])
        client.get("/nothing/of/that/name")
        found = samples(client.get("/metrics").text)
        counts = [
            named(found, "sspcab_inspections_total", model="lamp", verdict=verdict)
            for verdict in ("good", "anomalous", "unjudged")
        ]
        assert counts == [2, 1, 1]
        for stage in ("decode", "queue", "network"):
            labels = {"model": "lamp", "stage": stage}
            assert named(found, "sspcab_stage_seconds_count", **labels) == 4
        route = "/v1/models/{name}/predict"
        assert named(found, "sspcab_request_seconds_count", route=route, status="200") == 3
        assert named(found, "sspcab_request_seconds_count", route=route, status="422") == 1
        assert named(found, "sspcab_request_seconds_count", route="unknown", status="404") == 1
        mean = named(found, "sspcab_recent_normalized_score", model="lamp")
        assert mean == pytest.approx(np.mean(scores[:3]))
        assert named(found, "sspcab_recent_alarm_share", model="lamp") == pytest.approx(1 / 3)
        assert named(found, "sspcab_queue_pictures", model="lamp") == 0
        info = {"version": "v-test", "backend": "onnx", "precision": "fp32", "model": "lamp"}
        assert named(found, "sspcab_model_info", **info) == 1


def test_health_never_lies(model: Path, tmp_path: Path) -> None:
    with running(settings_for(model, tmp_path)) as served, served.client() as client:
        assert client.get("/health/live").json() == {"live": True}
        assert client.get("/health/ready").json() == {"ready": True, "troubles": []}
        predictor = served.service.models["lamp"].predictor
        network = predictor.network

        class Broken:
            def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
                raise RuntimeError("out of memory")

        predictor.network = Broken()
        answer = client.post(PREDICT, content=picture(1))
        assert answer.status_code == 422
        assert "the network failed: out of memory" in answer.json()["inspections"][0]["error"]
        health = client.get("/health/ready")
        assert health.status_code == 503
        assert health.json()["troubles"] == ["model lamp: its network failed"]
        assert client.get("/health/live").status_code == 200
        predictor.network = network
        assert client.post(PREDICT, content=picture(1)).status_code == 200
        assert client.get("/health/ready").status_code == 200


def test_a_score_that_is_no_number_is_no_good_part(model: Path, tmp_path: Path) -> None:
    with running(settings_for(model, tmp_path)) as served, served.client() as client:
        predictor = served.service.models["lamp"].predictor
        network = predictor.network

        class Nothing:
            def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
                return {name: value * np.nan for name, value in network.run(images).items()}

        predictor.network = Nothing()
        answer = client.post(PREDICT, content=picture(1))
        assert answer.status_code == 422
        assert answer.json()["inspections"][0]["is_anomaly"] is None
