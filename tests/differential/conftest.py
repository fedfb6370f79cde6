"""Every test here is run for each engine that claims to be exact."""

from __future__ import annotations

import pytest

from tests.differential import rig


@pytest.fixture(autouse=True, params=["jit", "threaded"])
def first_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put the engine under test into `rig.FIRST`."""
    monkeypatch.setattr(rig, "FIRST", request.param)
    return request.param
