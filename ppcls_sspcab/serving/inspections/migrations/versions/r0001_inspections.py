"""The table of inspections."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "inspections",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("model_version", sa.String(200), nullable=False),
        sa.Column("backend", sa.String(50), nullable=False),
        sa.Column("precision", sa.String(50), nullable=False),
        sa.Column("request_id", sa.String(200), nullable=False),
        sa.Column("name", sa.String(1000), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("picture", sa.String(100), nullable=False),
        sa.Column("station", sa.String(200), nullable=False),
        sa.Column("serial", sa.String(200), nullable=False),
        sa.Column("score", sa.Double()),
        sa.Column("normalized_score", sa.Double()),
        sa.Column("threshold", sa.Double()),
        sa.Column("is_anomaly", sa.Boolean()),
        sa.Column("error", sa.String(2000), nullable=False),
        sa.Column("decode_ms", sa.Double(), nullable=False),
        sa.Column("queue_ms", sa.Double(), nullable=False),
        sa.Column("network_ms", sa.Double(), nullable=False),
    )
    op.create_index("inspections_time", "inspections", ["time", "id"])
    for column in ("model", "station", "serial", "is_anomaly"):
        op.create_index(f"inspections_{column}", "inspections", [column, "time", "id"])
    op.create_index("inspections_sha256", "inspections", ["sha256"])
