"""Sizes: MB is 10 ** 6 bytes, and MiB 2 ** 20."""

import ast
import re

import pytest

from demucs.config import RANGES
from demucs.errors import ConfigError

BINARY = re.compile(r"2 ?\*\* ?20|1 ?<< ?20|1024|1048576|FLOATS_PER_MIB")


@pytest.mark.parametrize("key", ["svd.min_size", "quant.min_size"])
def test_settings_that_published_demucs_counts_in_units_of_2_20_bytes(key):
    with pytest.raises(ConfigError, match=f"{key}=-1.* MiB"):
        RANGES[key].check(key, -1)


def test_no_number_of_2_20_bytes_is_called_mb(repository):
    """Statements with both a text about MB and a power of two."""
    wrong = []
    for folder in ("demucs", "tools", "graphing_scripts"):
        for path in (repository / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, (ast.Assign, ast.Expr, ast.Return, ast.Raise)):
                    continue
                texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
                if BINARY.search(ast.unparse(node)) and re.search(r"\bMB\b", " ".join(texts)):
                    wrong.append(f"{path.relative_to(repository)}:{node.lineno}")
    assert wrong == []
