"""Fixtures of the API's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.app import Settings
from tests.api.harness import Api


@pytest.fixture
def settings() -> Settings:
    return Settings(max_body_bytes=100_000)


@pytest.fixture
def api(tmp_path: Path, settings: Settings) -> Iterator[Api]:
    found = Api(tmp_path, settings)
    yield found
    found.close()
