from tests.unit.disk.loops import run  # noqa: F401 - a fixture
