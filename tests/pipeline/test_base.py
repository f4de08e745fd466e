"""A pass: its parameters are checked, normalised, immutable and hashable; its context is deterministic."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from graphopt.errors import PassParameterError
from graphopt.pipeline import Context, Instrument, Pass, PassResult, parameter, parameters_of

from .passes import Need, Prune


class Plain(Pass):
    """Fields without a word about apply, for classes that are declared only to be looked at."""

    def apply(self, graph: Any, context: Context) -> PassResult:
        return PassResult(changed=False)


def test_values_are_kept_in_their_normal_form() -> None:
    made = Prune(ratio=np.float32(0.25), align=np.int64(4), ignore=["a"], keep={"w": [0, 1]}, size=[1, 2])  # type: ignore[arg-type, dict-item]
    assert type(made.ratio) is float
    assert type(made.align) is int
    assert made.ignore == ("a",)
    assert made.size == (1, 2)
    assert made.keep == {"w": (0, 1)}
    assert made == Prune(ratio=0.25, align=4, ignore=("a",), keep={"w": (0, 1)}, size=(1, 2))


def test_a_whole_number_is_taken_for_a_float() -> None:
    assert Prune(ratio=1) == Prune(ratio=1.0)
    assert str(Prune(ratio=1)) == "prune-channels{ratio=1.0}"


def test_passes_are_immutable_and_hashable_down_to_their_maps() -> None:
    given: dict[str, tuple[int, ...]] = {"w": (0, 1)}
    made = Prune(keep=given)
    given["w"] = (7,)
    assert made.keep == {"w": (0, 1)}
    assert {made: 1}[Prune(keep={"w": [0, 1]})] == 1  # type: ignore[dict-item]
    assert made != Prune()
    with pytest.raises(FrozenInstanceError):
        made.ratio = 0.1  # type: ignore[misc]
    with pytest.raises(TypeError):
        made.keep["w"] = (0,)  # type: ignore[index]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ratio": 1.5}, "parameter 'ratio': expected a number, from 0 to 1; got 1.5"),
        ({"ratio": "0.3"}, "parameter 'ratio': expected a number, from 0 to 1; got '0.3'"),
        ({"ratio": True}, "parameter 'ratio': expected a number, from 0 to 1; got True"),
        ({"ratio": float("nan")}, "parameter 'ratio': expected a number, from 0 to 1; got nan"),
        ({"criterion": "l3"}, "parameter 'criterion': expected one of l1, l2, random; got 'l3'"),
        ({"align": 0}, "parameter 'align': expected a whole number, at least 1; got 0"),
        ({"align": 2.0}, "parameter 'align': expected a whole number, at least 1; got 2.0"),
        ({"force": 1}, "parameter 'force': expected true or false; got 1"),
        ({"to": 6}, "parameter 'to': expected a text, or none; got 6"),
        ({"ignore": "conv"}, "parameter 'ignore': expected a list [...], each a text; got 'conv'"),
        ({"ignore": (1,)}, "parameter 'ignore': expected a text; got 1"),
        ({"size": (1, 2, 3)}, "parameter 'size': expected a list [...] of 2 values, each a whole number; got (1, 2, 3)"),
        ({"keep": {"w": (0, -1)}}, "parameter 'keep': expected a whole number, at least 0; got -1"),
        ({"keep": {1: (0,)}}, "parameter 'keep': expected a map {key:value,...}, each value a list [...], each a whole number"),
        ({"ratios": {"w": 1.0}}, "parameter 'ratios': expected a number, above 0 and below 1; got 1.0"),
        ({"ratios": 3}, "parameter 'ratios': expected a map {key:value,...}, each value a number, above 0 and below 1, or none; got 3"),
    ],
)
def test_a_wrong_value_names_pass_parameter_value_and_what_is_allowed(values: dict[str, Any], message: str) -> None:
    with pytest.raises(PassParameterError) as caught:
        Prune(**values)
    assert str(caught.value).startswith("pass 'prune-channels', " + message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 10**400])
def test_a_number_without_limits_is_finite_nevertheless(value: float) -> None:
    @dataclass(frozen=True)
    class Free(Plain):
        name: ClassVar[str] = "free"
        number: float = 0.0

    with pytest.raises(PassParameterError, match="expected a number; got"):
        Free(number=value)


def test_both_ends_of_a_range_belong_to_it_and_above_and_below_do_not() -> None:
    assert [Prune(ratio=ratio).ratio for ratio in (0, 1)] == [0.0, 1.0]
    for ratio in (0.0, 1.0):
        with pytest.raises(PassParameterError):
            Prune(ratios={"w": ratio})


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(PassParameterError) as caught:
        Prune(ratio=tuple(range(1000)))  # type: ignore[arg-type]
    assert len(str(caught.value)) < 160
    assert str(caught.value).endswith("...")


def test_the_parameters_can_be_listed() -> None:
    listed = {found.name: found for found in parameters_of(Prune)}
    assert list(listed) == ["ratio", "criterion", "align", "force", "to", "ignore", "size", "keep", "ratios"]
    assert (listed["ratio"].default_text, listed["ratio"].limits.words, listed["ratio"].help) == (
        "0.5",
        "from 0 to 1",
        "share of channels to remove",
    )
    assert {name: found.kind.type_words for name, found in listed.items()} == {
        "ratio": "float",
        "criterion": "str",
        "align": "int",
        "force": "bool",
        "to": "str or none",
        "ignore": "list of str",
        "size": "list of 2 int",
        "keep": "map of str to list of int",
        "ratios": "map of str to float or none",
    }
    (count,) = parameters_of(Need)
    assert count.required
    assert count.default_text is None
    assert listed["to"].default_text == "none"


def test_a_default_is_kept_in_its_normal_form_and_apart_from_what_it_was_made_of() -> None:
    given = {"a": 1}

    @dataclass(frozen=True)
    class Defaults(Plain):
        name: ClassVar[str] = "defaults"
        ratio: float = parameter(1)
        names: tuple[str, ...] = parameter(["a"])
        table: Mapping[str, int] = parameter(given)

    given["b"] = 2
    assert [found.default_text for found in parameters_of(Defaults)] == ["1.0", "[a]", "{a:1}"]
    assert str(Defaults()) == "defaults"
    assert Defaults().table == {"a": 1}


def test_passes_travel_between_processes() -> None:
    made = Prune(keep={"w": (0, 1)}, ratio=0.25)
    assert pickle.loads(pickle.dumps(made)) == made
    assert copy.deepcopy(made) == made


@pytest.mark.parametrize("name", ["Fuse", "fuse_bn", "fuse--bn", "-fuse", "fuse bn", "1st"])
def test_a_name_is_kebab_case(name: str) -> None:
    with pytest.raises(TypeError, match="kebab-case"):
        type("Wrong", (Plain,), {"name": name})


def _undecorated() -> type[Pass]:
    class Undecorated(Plain):
        name: ClassVar[str] = "undecorated"
        ratio: float = 0.5

    return Undecorated


def _name_as_field() -> type[Pass]:
    @dataclass(frozen=True)
    class NameAsField(Plain):
        name: str = "name-as-field"  # type: ignore[misc]

    return NameAsField


def _declares(hint: object, default: object) -> type[Pass]:
    namespace = {"name": "wrong", "__annotations__": {"value": hint}, "value": default}
    return dataclass(frozen=True)(type("Wrong", (Plain,), namespace))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (_undecorated(), "must be decorated"),
        (_name_as_field(), "ClassVar"),
        (_declares(int | str, 1), "a parameter is bool, int, float, str"),
        (_declares(Mapping[int, int], parameter({})), "a parameter is bool, int, float, str"),
        (_declares(list[int], ()), "a parameter is bool, int, float, str"),
        (_declares(float, parameter(2.0, maximum=1)), "the default 2.0 is not a number, at most 1"),
        (_declares(int, "no"), "the default 'no' is not a whole number"),
        (_declares(str, parameter("a", minimum=1)), "a range needs numbers, not str"),
        (_declares(int, parameter(1, choices=("one",))), "'one' is not a whole number"),
    ],
)
def test_a_wrong_declaration_says_what_is_wrong(wrong: type[Pass], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        parameters_of(wrong)
    assert message in str(caught.value)


def test_a_pass_without_apply_cannot_be_made() -> None:
    @dataclass(frozen=True)
    class Unfinished(Pass):
        name: ClassVar[str] = "unfinished"

    with pytest.raises(TypeError, match="apply"):
        Unfinished()  # type: ignore[abstract]


def test_random_numbers_depend_on_the_seed_alone() -> None:
    context = Context(seed=3)
    first = context.rng().random(4)
    assert np.array_equal(context.rng().random(4), first)  # the second pass draws what it would draw if it were the first
    assert np.array_equal(Context(seed=3).rng().random(4), first)
    assert not np.array_equal(Context(seed=4).rng().random(4), first)


def test_a_rewrite_is_permitted_only_if_every_instrument_permits_it() -> None:
    class Refuse(Instrument):
        def permit(self, where: str) -> bool:
            return where != "here"

    context = Context(instruments=(Instrument(), Refuse(), Instrument()))
    assert context.permit("there")
    assert not context.permit("here")
    assert Context().permit("here")


def test_a_number_or_one_of_some_words() -> None:
    cls = _declares(int | Literal["auto", "off"], parameter(4, minimum=1))
    (declared,) = parameters_of(cls)
    assert declared.kind.type_words == "int or auto or off"
    assert [str(cls(value)) for value in (4, 6, "auto")] == ["wrong", "wrong{value=6}", "wrong{value=auto}"]  # type: ignore[call-arg]
    with pytest.raises(PassParameterError, match="expected a whole number, at least 1, or auto or off; got 'on'"):
        cls("on")  # type: ignore[call-arg]
