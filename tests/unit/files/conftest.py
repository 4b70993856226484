from tests.unit.files.loops import run  # noqa: F401 - a fixture
