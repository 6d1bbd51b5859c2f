"""Each guarantee in docs/security.md names a test that exists."""

import re
from pathlib import Path

ROWS = [line for line in Path("docs/security.md").read_text().splitlines() if re.match(r"\| .*`(data/)?test_", line)]


def test_every_guarantee_names_tests_that_exist() -> None:
    assert len(ROWS) > 25
    for row in ROWS:
        file = ""
        for name in re.findall(r"`([\w/]*test_\w+(?:::test_\w+)?)`", row.rpartition(" | ")[2]):
            path, _, test = name.partition("::")
            if test or Path(f"tests/{path}.py").exists():
                file = path
            else:
                test = path  # of the file named before it
            text = Path(f"tests/{file}.py").read_text()
            assert not test or f"def {test}(" in text, f"{file} has no {test}"
