"""The documentation: short enough, without dead links, and its commands and examples work."""

import importlib
import re
import runpy
import shlex
from functools import cache

import pytest
from omegaconf import OmegaConf

from cavp.label_tower import KINDS
from demo import render
from docs.commands import COMMANDS, PAGE, page, parser_of
from tests.conftest import REPOSITORY
from training.config import compose

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "CHANGELOG.md",
    REPOSITORY / "bundled" / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
NAMES = [path.relative_to(REPOSITORY).as_posix() for path in PAGES]
BLOCK = re.compile(r"^```(\w*)( run)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = [name for name in NAMES if any(marked for _, marked, _ in BLOCK.findall((REPOSITORY / name).read_text()))]


def blocks(name, kind):
    """The fenced blocks of a page in a language."""
    return [text for language, _, text in BLOCK.findall((REPOSITORY / name).read_text()) if language == kind]


def prose(name):
    """A page without its fenced blocks."""
    return BLOCK.sub("", (REPOSITORY / name).read_text())


def commands(shell):
    """What the Python commands of a shell script are given: module and arguments."""
    for line in shell.replace("\\\n", " ").splitlines():
        for call in re.findall(r"(?:^|\s)python3? ([^;]+)", line.split(" # ")[0]):
            yield called(shlex.split(call))


def called(words):
    """The module that a command line names, and its arguments."""
    if words[0] == "-m":
        return words[1], words[2:]
    return words[0].removesuffix(".py"), words[1:]


@cache
def parser(module):
    return parser_of(module)


def check_training(arguments):
    """Compose the configuration that a training is started with, for the first value of each sweep."""
    is_sweep = "-m" in arguments
    overrides = [word for word in arguments if "=" in word]
    compose(*(re.sub(",.*", "", word) if is_sweep else word for word in overrides))


def headings(name):
    """The anchors of a page, as GitHub makes them."""
    seen = {}
    for title in re.findall(r"^#+ (.+)$", prose(name), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        seen[slug] = seen.get(slug, -1) + 1
        yield slug if not seen[slug] else f"{slug}-{seen[slug]}"


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 200


@pytest.mark.parametrize("name", NAMES)
def test_relative_links_lead_somewhere(name):
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", prose(name)) if "://" not in target]
    for target in targets:
        path, _, anchor = target.partition("#")
        file = (REPOSITORY / name).parent / path if path else REPOSITORY / name
        assert file.exists(), f"{name} links to {target}"
        if anchor:
            place = file.resolve().relative_to(REPOSITORY).as_posix()
            assert anchor in set(headings(place)), f"{name} links to {target}"


@pytest.mark.parametrize("name", NAMES)
def test_commands_in_blocks_are_understood(name):
    for block in blocks(name, "sh"):
        for module, arguments in commands(block):
            if module == "train":
                check_training(arguments)
            else:
                known = parser(module)
                options = known.parse_args(arguments)
                check_training([value for value in getattr(options, "options", ()) if module == "training.cache"])


@pytest.mark.parametrize("name", [name for name in NAMES if name != PAGE.relative_to(REPOSITORY).as_posix()])
def test_commands_in_sentences_have_the_options_that_they_name(name):
    for span in re.findall(r"`((?:TAG=\S+ )?python3? (?:-m |\w+\.py)[^`]*)`", prose(name)):
        words = shlex.split(" ".join(span.split()).split("python", 1)[1].partition(" ")[2])
        module, arguments = called(words)
        if module == "train":
            check_training([word for word in arguments if not re.search("…|FILE|NAME", word)])
            continue
        options = {word for word in arguments if word.startswith("--")}
        known = {option for action in nested(parser(module)) for option in action.option_strings}
        assert options <= known, f"{name}: {span}"


def nested(known):
    """The options of a parser and of its sub-commands."""
    for action in known._actions:
        yield action
        if isinstance(action.choices, dict):
            for inner in action.choices.values():
                yield from nested(inner)


@pytest.fixture(scope="module")
def keys():
    """The keys of all experiments together, and those that the configuration reads where they are added."""
    found = {"exp", "evaluate_every", "hydra/launcher"}
    for launcher in (REPOSITORY / "configs" / "hydra" / "launcher").glob("*.yaml"):
        found |= {f"hydra.launcher.{key}" for key in OmegaConf.load(launcher)}
    for exp in (REPOSITORY / "exp").glob("*.yaml"):
        pending = [("", compose(f"exp={exp.name}"))]
        while pending:
            prefix, section = pending.pop()
            for key in section:
                found.add(f"{prefix}{key}")
                if OmegaConf.is_dict(inner := OmegaConf.select(section, key)):
                    pending.append((f"{prefix}{key}.", inner))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_keys_in_sentences_exist(name, keys):
    spans = " ".join(span for span in re.findall(r"`([^`]+)`", prose(name)) if "Could not" not in span)
    assert set(re.findall(r"(?:^|\s)\+?([a-z]\w*(?:\.\w+)*)=", spans)) - {"group", "key", "epoch"} <= keys


@pytest.mark.parametrize("name", NAMES)
def test_make_targets_exist(name):
    makefile = (REPOSITORY / "Makefile").read_text().replace("$(RUN):", ".venv/bin/python:")
    targets = re.findall(r"^(\S+):", makefile, re.MULTILINE)
    named = re.findall(r"(?:^|`)make ([\w./-]+)", "\n".join([*blocks(name, "sh"), prose(name)]), re.MULTILINE)
    assert set(named) <= set(targets)


def test_the_list_of_commands_is_current():
    assert PAGE.read_text() == page(), "run make docs"


def test_the_list_of_commands_is_complete():
    modules = set()
    for path in REPOSITORY.glob("**/*.py"):
        place = path.relative_to(REPOSITORY)
        if not place.parts[0].startswith(".") and re.search(r'^if __name__ == "__main__":', path.read_text(), re.M):
            modules.add(".".join(place.with_suffix("").parts).removesuffix(".__main__"))
    listed = {name for names in COMMANDS.values() for name in names}
    assert {name for name in modules if not name.startswith("tests.")} == (listed | {"train"}) - {"tests.parity"}


def test_the_words_that_the_bundled_model_knows_are_listed():
    page = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
    listed = re.search(r"^Materials: (.*?)\. Actions: (.*?)\.", page, re.MULTILINE | re.DOTALL)
    assert [set(re.split(r",\s+", words)) for words in listed.groups()] == [set(kind) for kind in KINDS]


def test_the_files_of_the_architecture_are_there():
    tree = (REPOSITORY / "docs" / "architecture.md").read_text().partition("## Files")[2]
    package, n_files = REPOSITORY, 0
    for line in tree.splitlines():
        if not line.startswith("    "):
            continue
        is_inner = line.startswith("      ")
        if not is_inner:
            package = REPOSITORY / line.split()[0]
        for word in re.findall(r"[\w/]+(?:\.py|/)(?=\s|$)", line):
            assert ((package if is_inner else REPOSITORY) / word).exists(), f"{line}: {word}"
            n_files += 1
    assert n_files > 60


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in NAMES if re.search("```\\w+ run\n", (REPOSITORY / name).read_text())]
)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    render(tmp_path / "outputs" / "demo" / "reference")
    for language, marked, text in BLOCK.findall((REPOSITORY / name).read_text()):
        if marked and language == "python":
            (tmp_path / "example.py").write_text(text)
            runpy.run_path(str(tmp_path / "example.py"))
        elif marked:
            for module, arguments in commands(text):
                command = importlib.import_module(module)
                (getattr(command, "main", None) or importlib.import_module(f"{module}.__main__").main)(arguments)
    if name == "README.md":
        assert {path.name for path in (tmp_path / "outputs").iterdir()} == {"demo", "again", "metal", "glass"}
