"""One target under atheris, which looks for inputs that reach new code: ``guided.py TARGET SECONDS FOUND CORPUS``.

Run as a process of its own: libFuzzer ends it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["p2pal"]):
    from tests.fuzz.mutation import MOST
    from tests.fuzz.rounds import Failed, known
    from tests.fuzz.targets import TARGETS

name, seconds, found, corpus = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
target = TARGETS[name]


def once(data: bytes) -> None:
    """Run the target; what it fails with is kept."""
    try:
        target.run(data)
    except Exception as error:
        failed = Failed(name, data)
        print(f"kept as {failed.save(found)}")
        raise failed from error


corpus.mkdir(parents=True, exist_ok=True)
for number, data in enumerate([*target.seeds, *known(name)]):
    (corpus / f"seed-{number}").write_bytes(data)
options = [
    f"-max_total_time={seconds}",
    f"-max_len={MOST}",
    "-print_final_stats=1",
    "-verbosity=0",
    f"-artifact_prefix={found}/",
    str(corpus),
]
atheris.Setup([sys.argv[0], *options], once)
atheris.Fuzz()
