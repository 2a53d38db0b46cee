"""Docstrings begin as the project's docstrings do: functions with a command, nothing with a question."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src/discrepancy"
MODULES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))

QUESTION = re.compile("How|What|When|Where|Whether|Which|Who|Whose|Why")
NO_VERB = re.compile(
    f"{QUESTION.pattern}|A|After|All|An|And|Any|As|At|Before|Both|But|By|Each|Either|Every|Everything|For|From|Further|"
    "Here|If|In|Its?|Like|No|None|Not|Nothing|Of|On|Once|One|Only|Or|Other|Our|Same|Second|So|Some|Such|That|The|Their|"
    "Then|There|These|Third|This|Those|Three|To|True|Two|Under|Until|We|With|Without|"
    r"\w+(ed|ing|ion|ity|ment|[^s]s)"
)
VERB = re.compile("Bring|Embed|Feed|Mention|Need|Partition|Position")
"""Verbs that end as nouns and participles do."""
EXEMPT = frozenset({"cached_property", "overload", "property"})

checked = pytest.mark.parametrize("module", MODULES)


def documented(tree):
    """Name and docstring of a module, and of every class and function in it."""
    for node in ast.walk(tree):
        has_docstring = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if has_docstring and (text := ast.get_docstring(node)):
            yield getattr(node, "name", "the module"), text


def functions(body):
    """Name and docstring of the public functions, and of the methods of public classes; of no properties."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from functions(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            private = node.name.startswith("_") and not node.name.endswith("__")
            decorators = {word for one in node.decorator_list for word in re.findall(r"\w+", ast.unparse(one))}
            if (text := ast.get_docstring(node)) and not private and not EXEMPT & decorators:
                yield node.name, text


def first_word(text):
    return text.split(maxsplit=1)[0].rstrip(",.:;")


def is_command(text):
    """As far as the first two words tell: a list of all verbs would have to grow with every module."""
    first = first_word(text)
    capitalised = re.fullmatch(r"[A-Z][a-z]+(-[a-z]+)?", first)
    a_verb = VERB.fullmatch(first) or not NO_VERB.fullmatch(first)
    return bool(capitalised and a_verb) and text.split()[1:2] != ["of"]


def tree(module):
    return ast.parse((SOURCE / module).read_text(encoding="utf-8"))


@checked
def test_functions_begin_with_a_command(module):
    assert [
        f"{name}: {text.splitlines()[0]}" for name, text in functions(tree(module).body) if not is_command(text)
    ] == []


@checked
def test_nothing_begins_with_a_question(module):
    asked = [(name, text) for name, text in documented(tree(module)) if QUESTION.fullmatch(first_word(text))]
    assert [f"{name}: {text.splitlines()[0]}" for name, text in asked] == []


@pytest.mark.parametrize(
    "text",
    [
        "Return it.",
        "Train, in several processes.",
        "Process images.",
        "Pass it on.",
        "Re-read a file.",
        "Render a category.",
    ],
)
def test_commands(text):
    assert is_command(text)


@pytest.mark.parametrize(
    "text",
    [
        "What becomes of it.",
        "Whether it is there.",
        "The features.",
        "A copy of the table.",
        "Number of maps.",
        "Weight of each pixel.",
        "Returns the maps.",
        "Maps of images.",
        "Squared error.",
        "Smoothing of maps.",
        "ROC curve.",
        "sha256 of rows.",
        "`image_array`, logged.",
    ],
)
def test_other_beginnings(text):
    assert not is_command(text)


def test_properties_private_functions_and_private_classes_are_free():
    source = """
class Public:
    @property
    def size(self):
        '''The size.'''

    def method(self):
        '''The result.'''

    def __len__(self):
        '''Its length.'''

    def _hidden(self):
        '''The inside.'''

class _Private:
    def method(self):
        '''The inside.'''

async def function():
    '''The result.'''
"""
    assert [name for name, _ in functions(ast.parse(source).body)] == ["method", "__len__", "function"]
