"""Prompt templates: data stays data, overrides win, and what is wrong with one is said with its place."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from prompt_samples import HOSTILE, NAMES, PLAIN, SEEING, WILD, tidy
from samples import picture

from msr_local.engine.types import IMAGE_MARK, Question
from msr_local.errors import PromptError
from msr_local.files import package_data
from msr_local.prompts import PromptTemplate
from msr_local.text import printable


def written(question: Question) -> str:
    """All that the user's turn says."""
    return f"{question.shared}\n\n{question.own}".replace(IMAGE_MARK, "[picture]")


def template(folder: Path, system: str = "S", shared: str = "H", own: str = "O", rest: str = "") -> PromptTemplate:
    blocks = {"system": system, "shared": shared, "own": own}
    text = "".join(f"{{% block {name} %}}{body}{{% endblock %}}\n" for name, body in blocks.items())
    (folder / "score.j2").write_text(text + rest, encoding="utf-8")
    return PromptTemplate("score", folder)


# ---- data


def shape(question: Question) -> list[object]:
    """All of a question but its data: the number of lines of each block, and the picture with its place."""
    blocks = (question.system, question.shared, question.own, question.opening)
    return [*((len(text.splitlines()), text.count(IMAGE_MARK)) for text in blocks), question.image]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(
    values=st.fixed_dictionaries({k: WILD if isinstance(v, str) else st.tuples(WILD, WILD) for k, v in PLAIN.items()})
)
def test_data_adds_no_line_and_no_place_for_a_picture(name: str, values: dict[str, Any]) -> None:
    # What shows nothing at all leaves its line out.
    assume(all(printable(values[key]).replace("\ufffc", "").strip() for key in ("hint", "candidate")))
    image = picture(1) if name in SEEING else None
    made = PromptTemplate(name)
    assert shape(made.question(values, image)) == shape(made.question(PLAIN, image))
    assert IMAGE_MARK not in written(made.question(values))


def test_data_is_not_read_as_a_template() -> None:
    assert "{{ 7 * 7 }}{% raw %}" in written(PromptTemplate("score").question({**PLAIN, "hint": HOSTILE[3]}))


def test_data_stays_on_one_line_within_loops_macros_and_filters(tmp_path: Path) -> None:
    own = (
        "{% macro twice(x) %}{{ x }} {{ x }}{% endmacro %}{{ twice(data) }}\n"
        "{% filter upper %}{{ data }}{% endfilter %}, {{ many | join('\n') }}\n{% for x in many %}{{ x }};{% endfor %}"
    )
    asked = template(tmp_path, own=own).question({"data": "a\nb", "many": ["c\nd", "e\ufffcf"]})
    assert "a b a b\nA B, c d ef\nc d;ef;" in written(asked)


@settings(max_examples=40)
@given(before=WILD, after=WILD)
def test_what_questions_share_knows_nothing_of_the_candidate(before: str, after: str) -> None:
    one, other = (
        PromptTemplate("score").question({**PLAIN, "candidate": text, "hint": text}, image)
        for text, image in ((before, None), (after, picture(1)))
    )
    assert (one.system, one.shared, one.opening) == (other.system, other.shared, other.opening)


# ---- the shipped prompts


def test_every_question_of_the_recipe_has_its_prompt() -> None:
    assert NAMES == ["item_caption", "preference_direct", "preference_first", "preference_update", "score"]


@pytest.mark.parametrize("given_parts", list(itertools.product([False, True], repeat=4)))
def test_the_scoring_prompt_with_and_without_each_part(given_parts: tuple[bool, ...]) -> None:
    summary, history, hint, image = given_parts
    values = {
        **PLAIN,
        "summary": PLAIN["summary"] if summary else "",
        "history": PLAIN["history"] if history else [],
        "hint": PLAIN["hint"] if hint else "",
    }
    text = written(PromptTemplate("score").question(values, picture(1) if image else None))
    assert (PLAIN["summary"] in text) == summary
    assert ("- First film\n- Second film" in text) == history
    assert (PLAIN["hint"] in text) == hint
    assert ("\n\n[picture] Third film" in text) == image
    assert ("Nothing is known" in text) == (not summary and not history)
    assert PLAIN["candidate"] in text
    assert tidy(text)


@pytest.mark.parametrize("name", NAMES)
def test_the_other_prompts_are_tidy(name: str) -> None:
    asked = PromptTemplate(name).question(PLAIN, picture(1) if name in SEEING else None)
    text = written(asked)
    assert tidy(text.lstrip()) and tidy(asked.system) and asked.system
    assert asked.opening.startswith("This person") == name.startswith("preference")
    assert text.count("[picture]") == (name in SEEING) == (asked.image is not None)


def test_the_caption_prompt_works_without_a_picture() -> None:
    assert "Describe what the picture shows" in written(PromptTemplate("item_caption").question({}))


# ---- pictures


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("{{ image }} {{ candidate }}?", "[picture] Third film. Genres: Western.?"),
        ("Is {{ candidate }} {{ image }}", "Is Third film. Genres: Western. [picture]"),
        ("a {% if image %}({{ image }}){% endif %} b", "a ([picture]) b"),
        ("no picture here", "no picture here"),
    ],
)
def test_the_picture_stands_where_the_template_says(tmp_path: Path, own: str, expected: str) -> None:
    asked = template(tmp_path, own=own).question(PLAIN, picture(1))
    assert written(asked) == "H\n\n" + expected
    assert asked.image == (picture(1) if "[picture]" in expected else None)


def test_without_a_picture_its_place_is_empty(tmp_path: Path) -> None:
    asked = template(tmp_path, own="a {% if image %}picture{% endif %}{{ image }}b").question(PLAIN)
    assert asked == Question("S", "H", "a b")


def test_a_picture_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="once"):
        template(tmp_path, own="{{ image }} {{ image }}").question(PLAIN, picture(1))


def test_a_picture_in_the_shared_block_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="only stand in the block 'own'"):
        template(tmp_path, shared="{{ image }}").question(PLAIN, picture(1))


# ---- overrides


def test_a_prompt_of_the_workspace_wins(tmp_path: Path) -> None:
    mine = template(tmp_path, own="Will it be {{ candidate }}?")
    assert Path(mine.path) == tmp_path / "score.j2"
    assert "Will it be Third film" in written(mine.question(PLAIN))
    assert Path(PromptTemplate("item_caption", tmp_path).path).parent == package_data("prompts")


def test_a_missing_folder_of_overrides_is_none(tmp_path: Path) -> None:
    assert PromptTemplate("score", tmp_path / "nothing").sha256 == PromptTemplate("score").sha256


def test_the_hash_follows_the_text_and_nothing_else(tmp_path: Path) -> None:
    one, other = template(tmp_path, own="one"), template(tmp_path, own="two")
    assert len({one.sha256, other.sha256, PromptTemplate("score").sha256}) == 3
    assert template(tmp_path, own="one").sha256 == one.sha256
    (tmp_path / "score.j2").write_bytes((package_data("prompts") / "score.j2").read_bytes())
    assert PromptTemplate("score", tmp_path).sha256 == PromptTemplate("score").sha256


def test_an_opening_of_the_answer_is_data_free_and_comes_last(tmp_path: Path) -> None:
    asked = template(tmp_path, rest="{% block answer %} I say {{ hint }} {% endblock %}").question({"hint": "a\nb"})
    assert asked.opening == "I say a b"
    assert template(tmp_path).question({}).opening == ""


def test_an_empty_shared_block_is_empty(tmp_path: Path) -> None:
    assert template(tmp_path, shared=" \n ").question({}) == Question("S", "", "O")
    assert template(tmp_path).question({}) == Question("S", "H", "O")


# ---- broken templates


@pytest.mark.parametrize("block", ["system", "shared", "own"])
def test_a_missing_block_is_named_with_its_file(tmp_path: Path, block: str) -> None:
    template(tmp_path)
    text = (tmp_path / "score.j2").read_text().replace(f"block {block} ", "block other ")
    (tmp_path / "score.j2").write_text(text)
    with pytest.raises(PromptError, match=rf"score\.j2: .*; {block} is missing"):
        PromptTemplate("score", tmp_path)


@pytest.mark.parametrize("body", ["{% if %}", "{{ a b }}", "{% endfor %}", "{{ a | nosuchfilter }}", "{% unknown %}"])
def test_a_syntax_error_is_named_with_file_and_line(tmp_path: Path, body: str) -> None:
    with pytest.raises(PromptError) as caught:
        template(tmp_path, own="\n\n" + body)
    assert str(caught.value).startswith(f"{tmp_path / 'score.j2'}:5: ")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{{ nothing }}", "'nothing' is undefined"),
        ("{% if nothing %}x{% endif %}", "'nothing' is undefined"),
        ("{{ candidate.author }}", "'author'"),
        ("{{ candidate.__class__ }}", "unsafe"),
    ],
)
@pytest.mark.parametrize("block", ["system", "shared", "own"])
def test_a_failing_block_is_named_with_its_file(tmp_path: Path, block: str, body: str, said: str) -> None:
    made = template(tmp_path, **{block: body})
    with pytest.raises(PromptError) as caught:
        made.question(PLAIN)
    assert f"{tmp_path / 'score.j2'}, block {block}: " in str(caught.value) and said in str(caught.value)


@pytest.mark.parametrize("tag", ["include 'more.j2'", "import 'more.j2' as more", "extends 'more.j2'"])
def test_a_prompt_that_leans_on_another_file_is_refused_for_its_hash_would_not_show_it(
    tmp_path: Path, tag: str
) -> None:
    (tmp_path / "more.j2").write_text("x")
    with pytest.raises(PromptError, match=r"score\.j2"):
        template(tmp_path, own="O", rest=f"{{% {tag} %}}")


def test_a_prompt_that_is_nowhere_is_named_with_the_folders_searched(tmp_path: Path) -> None:
    with pytest.raises(PromptError) as caught:
        PromptTemplate("nothing", tmp_path)
    for part in ("nothing.j2", str(tmp_path), str(package_data("prompts"))):
        assert part in str(caught.value)


@pytest.mark.parametrize("values", [{}, {"candidate": "x"}])
def test_a_value_that_the_shipped_prompt_needs_may_not_be_missing(values: Mapping[str, object]) -> None:
    with pytest.raises(PromptError, match=r"score\.j2.*undefined"):
        PromptTemplate("score").question(values)
