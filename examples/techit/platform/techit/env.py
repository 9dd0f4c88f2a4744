"""The settings that differ from place to place, from one file.

`TECHIT_ENV` names it. What stands in the process's environment goes before what stands in the file, so that a drill
can point mail, webhook and archive elsewhere without touching it.
"""

import os
from pathlib import Path

USUAL = "/var/www/techit_solutions/.env"


def read(path: Path) -> dict[str, str]:
    """Reads `KEY=value` lines; comments and empty lines mean nothing."""
    values = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not key.lstrip().startswith("#"):
            values[key.strip()] = value.strip()
    return values


class Env:
    """What stands in the file and in the environment."""

    def __init__(self) -> None:
        self.path = Path(os.environ.get("TECHIT_ENV", USUAL))
        self.values = {**read(self.path), **os.environ}

    def __getitem__(self, key: str) -> str:
        try:
            return self.values[key]
        except KeyError:
            raise SystemExit(f"{self.path} lacks {key}") from None

    def get(self, key: str, otherwise: str = "") -> str:
        return self.values.get(key, otherwise)
