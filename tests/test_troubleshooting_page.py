"""docs/troubleshooting.md quotes messages of the code."""

import ast
import re

HOLE = "\0"      # where a message has a value


def texts(repository):
    """All texts of the code, those of f-strings with holes in them, and whole shell scripts."""
    found = []
    for folder in ("demucs", "tools", "graphing_scripts"):
        for path in (repository / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    found.append("".join(part.value if isinstance(part, ast.Constant) else HOLE for part in node.values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    scripts = [*(repository / "slurm_scripts").glob("*.sh"), repository / "Makefile"]
    return found + [re.sub(r"\$\{?\w+\}?", HOLE, path.read_text()) for path in scripts]


def messages(repository):
    page = (repository / "docs" / "troubleshooting.md").read_text()
    symptoms = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| ")]
    return [quoted for symptom in symptoms for quoted in re.findall(r"`([^`]*)`", symptom) if " " in quoted]


def test_messages_are_those_of_the_code(repository):
    quoted = messages(repository)
    assert len(quoted) > 35
    known = texts(repository)
    for message in quoted:
        parts = [re.escape(part.strip()) for part in message.split("...") if part.strip(" .:;,()")]
        pattern = re.compile(".*".join(parts), re.S)
        assert any(pattern.search(text) for text in known), message
