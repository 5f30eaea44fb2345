"""Runs the steps of ``versions/`` on the connection that the caller opened, in its transaction."""

from __future__ import annotations

from alembic import context

from ppcls_sspcab.serving.inspections.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
