"""README.md shows the pictures that docs/pictures.py takes, and no others."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"


def test_the_readme_shows_each_picture_that_is_taken() -> None:
    shown = set(re.findall(r'src="docs/images/(\w+\.png)"', (ROOT / "README.md").read_text()))
    taken = set(re.findall(r'"(\w+\.png)"', (ROOT / "docs" / "pictures.py").read_text()))

    assert shown == taken == {path.name for path in IMAGES.glob("*.png")}
