"""Pipeline text: what parses to what, that text round-trips, and that errors point at the place."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphopt.errors import GraphoptError, PassParameterError, PipelineSyntaxError, UnknownPassError
from graphopt.pipeline import Pass, PassResult, Pipeline, parameter, parse_pipeline

from .passes import DropIdentity, Need, Prune, registry

RATIOS = "a map {key:value,...}, each value a number, above 0 and below 1, or none"
REGISTRY = registry(Prune, DropIdentity, Need)


def one(text: str) -> Pass:
    (made,) = parse_pipeline(text, REGISTRY).passes
    return made


# ---- what parses to what


@pytest.mark.parametrize("text", ["", "  \n", "# nothing\n  # at all"])
def test_an_empty_text_is_an_empty_pipeline(text: str) -> None:
    assert parse_pipeline(text, REGISTRY) == Pipeline()
    assert str(Pipeline()) == ""


def test_passes_keep_their_order_and_may_repeat() -> None:
    pipeline = parse_pipeline("drop-identity,prune-channels{ratio=0.3 criterion=l1},drop-identity", REGISTRY)
    assert pipeline == Pipeline((DropIdentity(), Prune(ratio=0.3, criterion="l1"), DropIdentity()))
    assert str(pipeline) == "drop-identity,prune-channels{ratio=0.3 criterion=l1},drop-identity"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("ratio=0.25", Prune(ratio=0.25)),
        ("ratio=1", Prune(ratio=1.0)),
        ("ratio=+1e-3", Prune(ratio=0.001)),
        ("ratio=.5", Prune()),
        ("align=16", Prune(align=16)),
        ("force=true", Prune(force=True)),
        ("to=6ms", Prune(to="6ms")),
        ("to=none", Prune(to=None)),
        ('to="none"', Prune(to="none")),
        ("to=12", Prune(to="12")),
        ("to=module:function", Prune(to="module:function")),
        ('to="a\\"b \\u00e9,}"', Prune(to='a"b é,}')),
        ('to="two\nlines"', Prune(to="two\nlines")),
        ("ignore=[]", Prune()),
        ("ignore=[/layer1/conv*,onnx::Conv_12,b.0,?]", Prune(ignore=("/layer1/conv*", "onnx::Conv_12", "b.0", "?"))),
        ("ignore=[true,none,7]", Prune(ignore=("true", "none", "7"))),
        ("keep={conv1:[0,1,2],onnx::w:[]}", Prune(keep={"conv1": (0, 1, 2), "onnx::w": ()})),
        ('keep={"a:b":[1]}', Prune(keep={"a:b": (1,)})),
        ("ratios={7:0.5}", Prune(ratios={"7": 0.5})),
        ("size=[1,2]", Prune(size=(1, 2))),
        ("", Prune()),
    ],
)
def test_values(setting: str, expected: Prune) -> None:
    assert one(f"prune-channels{{{setting}}}") == expected


def test_white_space_and_comments_are_free_between_tokens() -> None:
    text = """
        drop-identity ,          # first
        prune-channels {
            ratio = 0.3 , keep = { w : [ 0 ,
                1 ] }            # a comma } in a comment
            to = "# no comment"
        }
    """
    assert parse_pipeline(text, REGISTRY).passes == (DropIdentity(), Prune(ratio=0.3, keep={"w": (0, 1)}, to="# no comment"))


# ---- round trip


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (Prune(), "prune-channels"),
        (Prune(ratio=0.5, align=8), "prune-channels"),
        (Prune(ignore=("a", "b c", "", "1", "none", "é")), 'prune-channels{ignore=[a,"b c","","1","none",é]}'),
        (Prune(to="none"), 'prune-channels{to="none"}'),
        (Prune(keep={"a": (1,), "b:c": ()}, ratios={}), 'prune-channels{keep={a:[1],"b:c":[]} ratios={}}'),
        (Prune(to="\ud800"), 'prune-channels{to="\\ud800"}'),
        (Need(count=0), "need{count=0}"),
    ],
)
def test_the_text_of_a_pass(made: Pass, text: str) -> None:
    assert str(made) == text
    assert one(text) == made


SCALARS = st.sampled_from([bool, int, float, str])
VALUES: dict[type, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(st.characters()) | st.sampled_from(["none", "true", "1", "1e5", "a:b", "a::b", "::", "#", "6ms", "-", "{", "a b"]),
}


def typed_values() -> st.SearchStrategy[tuple[Any, Any]]:
    """(annotation, value of it) for every kind of parameter."""
    import collections.abc as abc

    def of(scalar: type) -> st.SearchStrategy[tuple[Any, Any]]:
        value = VALUES[scalar]
        many = st.lists(value, max_size=3).map(tuple)
        keys = VALUES[str]
        return st.one_of(
            value.map(lambda v: (scalar, v)),
            (st.none() | value).map(lambda v: (scalar | None, v)),
            many.map(lambda v: (tuple[scalar, ...], v)),  # type: ignore[valid-type]
            st.tuples(value, value).map(lambda v: (tuple[scalar, scalar], v)),  # type: ignore[valid-type]
            st.lists(st.none() | value, max_size=2).map(lambda v: (tuple[scalar | None, ...], tuple(v))),  # type: ignore[valid-type]
            (st.none() | many).map(lambda v: (tuple[scalar, ...] | None, v)),  # type: ignore[valid-type]
            st.dictionaries(keys, value, max_size=3).map(lambda v: (abc.Mapping[str, scalar], v)),  # type: ignore[valid-type]
            st.dictionaries(keys, many, max_size=3).map(lambda v: (abc.Mapping[str, tuple[scalar, ...]], v)),  # type: ignore[valid-type]
        )

    return SCALARS.flatmap(of)


@given(st.lists(st.lists(typed_values(), max_size=4), max_size=3))
def test_every_pass_parses_back_from_its_text(passes: list[list[tuple[Any, Any]]]) -> None:
    made, classes = [], []
    for number, fields in enumerate(passes):
        required = [(f"p{i}", hint) for i, (hint, _) in enumerate(fields)]
        namespace = {"name": f"pass-{number}", "apply": lambda self, graph, context: PassResult(changed=False)}
        pass_class = make_dataclass(f"Pass{number}", required, bases=(Pass,), namespace=namespace, frozen=True)
        classes.append(pass_class)
        made.append(pass_class(**{f"p{i}": value for i, (_, value) in enumerate(fields)}))
    pipeline = Pipeline(tuple(made))
    again = parse_pipeline(str(pipeline), registry(*classes))
    assert again == pipeline
    assert str(again) == str(pipeline)
    assert hash(again) == hash(pipeline)


# ---- errors


def raised(text: str, kind: type[GraphoptError]) -> tuple[str, str]:
    """The first line of the error, and what of its text stands over the caret and after it."""
    with pytest.raises(kind) as caught:
        parse_pipeline(text, REGISTRY)
    assert type(caught.value) is kind
    message, line, caret = str(caught.value).split("\n")
    assert caret.strip() == "^"
    return message, line[caret.index("^") :]


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("drop-identity prune-channels", "expected ',' between two passes, found 'p'", "prune-channels"),
        ("drop-identity,,need", "expected the name of a pass, found ','", ",need"),
        ("drop-identity,", "expected the name of a pass, but the text ends", ""),
        ('"drop-identity"', "expected the name of a pass, found '\"'", '"drop-identity"'),
        ("need}", "expected ',' between two passes, found '}'", "}"),
        ("need{count=1", "expected a parameter or '}', but the text ends", ""),
        ("need{count 1}", "expected '=' after 'count', found '1'", "1}"),
        ("need{count=}", "expected a value, found '}'", "}"),
        ("need{=1}", "expected a parameter or '}', found '='", "=1}"),
        ("need{count=1 count=2}", "parameter 'count' is given twice", "count=2}"),
        ("need{count=[1,]}", "expected a value, found ']'", "]}"),
        ("need{count=[1 2]}", "expected ',' or ']', found '2'", "2]}"),
        ("need{count={a=1}}", "expected ':' after key 'a', found '='", "=1}}"),
        ("need{count={a:1,a:2}}", "key 'a' is given twice", "a:2}}"),
        ("need{count={:1}}", "expected a key, found ':'", ":1}}"),
        ('need{count="1}', "this string is not closed", '"1}'),
        ('need{count="\\x"}', "not a JSON string: Invalid \\escape", '\\x"}'),
        ("need{count=§}", "expected a value, found '§'", "§}"),
        ("need{count=" + "[" * 60, "lists and maps are nested too deep", "[" * 39),
    ],
)
def test_a_text_that_does_not_parse(text: str, message: str, place: str) -> None:
    found, rest = raised(text, PipelineSyntaxError)
    assert found == message
    assert rest == place


def test_an_unknown_pass_is_shown_with_the_nearest_known_one() -> None:
    message, rest = raised("drop-identity,prune-chanels{ratio=9}", UnknownPassError)
    assert message == "there is no pass 'prune-chanels'; did you mean 'prune-channels'?"
    assert rest == "prune-chanels{ratio=9}"
    assert raised("Drop_Identity", UnknownPassError)[0] == "there is no pass 'Drop_Identity'; did you mean 'drop-identity'?"
    assert raised("NEED", UnknownPassError)[0] == "there is no pass 'NEED'; did you mean 'need'?"
    assert raised("zzz", UnknownPassError)[0] == "there is no pass 'zzz'; `graphopt passes` lists what there is"


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("prune-channels{ration=1}", "pass 'prune-channels' has no parameter 'ration'; did you mean 'ratio'?", "ration=1}"),
        ("need{zzz=1}", "pass 'need' has no parameter 'zzz'; it has count", "zzz=1}"),
        ("drop-identity{zzz=1}", "pass 'drop-identity' has no parameter 'zzz'; it has none", "zzz=1}"),
        ("drop-identity, need", "pass 'need' needs parameter 'count'", "need"),
        ("need{count=1.0}", "pass 'need', parameter 'count': expected a whole number; got 1.0", "1.0}"),
        ('need{count="1"}', "pass 'need', parameter 'count': expected a whole number; got \"1\"", '"1"}'),
        ("need{count=[1, 2]}", "pass 'need', parameter 'count': expected a whole number; got [1, 2]", "[1, 2]}"),
        ("need{count=none}", "pass 'need', parameter 'count': expected a whole number; got none", "none}"),
        ("need{count=٣}", "pass 'need', parameter 'count': expected a whole number; got ٣", "٣}"),
        ("prune-channels{ratio = 1.5}", "pass 'prune-channels', parameter 'ratio': expected a number, from 0 to 1; got 1.5", "1.5}"),
        ("prune-channels{ratio=1e999}", "pass 'prune-channels', parameter 'ratio': expected a number, from 0 to 1; got 1e999", "1e999}"),
        ("prune-channels{criterion=l3}", "pass 'prune-channels', parameter 'criterion': expected one of l1, l2, random; got l3", "l3}"),
        ("prune-channels{force=1}", "pass 'prune-channels', parameter 'force': expected true or false; got 1", "1}"),
        ("prune-channels{ignore=a}", "pass 'prune-channels', parameter 'ignore': expected a list [...], each a text; got a", "a}"),
        (
            "prune-channels{size=[1]}",
            "pass 'prune-channels', parameter 'size': expected a list [...] of 2 values, each a whole number; got [1]",
            "[1]}",
        ),
        ("prune-channels{ratios=1}", f"pass 'prune-channels', parameter 'ratios': expected {RATIOS}; got 1", "1}"),
        ("prune-channels{keep={w:[0,x]}}", "pass 'prune-channels', parameter 'keep': expected a whole number, at least 0; got x", "x]}}"),
    ],
)
def test_a_wrong_parameter_is_shown_at_its_innermost_place(text: str, message: str, place: str) -> None:
    assert raised(text, PassParameterError) == (message, place)


def test_a_whole_number_of_too_many_digits_is_a_wrong_value() -> None:
    with pytest.raises(PassParameterError, match=r"expected a whole number; got 9+"):
        parse_pipeline(f"need{{count={'9' * 5000}}}", REGISTRY)


def test_the_caret_stands_in_its_own_line_and_column_of_a_longer_text() -> None:
    with pytest.raises(PassParameterError) as caught:
        parse_pipeline("drop-identity,\n\tprune-channels{\n\tratio=2\n}\n", REGISTRY)
    assert str(caught.value).split("\n")[1:] == ["  \tratio=2", "  \t      ^"]


def test_where_the_text_ends_too_early_the_caret_stands_behind_its_last_token() -> None:
    with pytest.raises(PipelineSyntaxError) as caught:
        parse_pipeline("drop-identity,\n\n", REGISTRY)
    assert str(caught.value).split("\n")[1:] == ["  drop-identity,", "                ^"]


def test_a_long_line_is_cut_around_the_caret() -> None:
    text = f"prune-channels{{ignore=[{','.join(['name'] * 200)}] ratio=2 to={'x' * 500}}}"
    rest = raised(text, PassParameterError)[1]
    assert rest.startswith("2 to=xxx")
    with pytest.raises(PassParameterError) as caught:
        parse_pipeline(text, REGISTRY)
    assert max(map(len, str(caught.value).split("\n")[1:])) < 120


def test_a_check_of_the_pass_itself_points_at_the_pass() -> None:
    @dataclass(frozen=True)
    class Ordered(DropIdentity):
        name: ClassVar[str] = "ordered"
        low: int = parameter(0)
        high: int = 1

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.low > self.high:
                raise ValueError(f"pass 'ordered': low={self.low} is above high={self.high}")

    with pytest.raises(PassParameterError) as caught:
        parse_pipeline("ordered,ordered{low=3}", registry(Ordered))
    assert str(caught.value).split("\n") == ["pass 'ordered': low=3 is above high=1", "  ordered,ordered{low=3}", "          ^"]
