"""A pass written as a function over an onnx-graphsurgeon graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, make_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, overload

from graphopt.errors import PluginError, UnsupportedError
from graphopt.pipeline.base import Context, Pass, PassResult

if TYPE_CHECKING:
    from graphopt.ir import Graph

Function = Callable[..., Any]


@overload
def surgeon_pass(function: Function) -> type[Pass]: ...
@overload
def surgeon_pass(*, name: str | None = None) -> Callable[[Function], type[Pass]]: ...
def surgeon_pass(function: Function | None = None, *, name: str | None = None) -> type[Pass] | Callable[[Function], type[Pass]]:
    """Make a pass of `function(graph: gs.Graph, **parameters)`, which changes the graph it is given or returns another.

        @surgeon_pass
        def drop_dropout(graph: gs.Graph, *, training: bool = False) -> None:
            '''Remove Dropout nodes.'''

    The pass takes its name from the function (`drop-dropout`) unless one is given, and its parameters from the arguments after the
    first: their annotations are the types, and a default may be `parameter(...)`. The docstring describes it in listings.
    TypeError if the function's arguments cannot be parameters.
    """
    if function is None:
        return lambda decorated: _pass_of(decorated, name)
    return _pass_of(function, name)


@dataclass(frozen=True)
class _SurgeonPass(Pass):
    function: ClassVar[Function]

    def apply(self, graph: Graph, context: Context) -> PassResult:
        import onnx_graphsurgeon as gs  # here, because it is slow to import and few pipelines need it

        if not context.permit("the whole function"):
            return PassResult(changed=False)
        surgeon = graph.to_graphsurgeon()
        # Both sides of the comparison go through graphsurgeon, so that what its export reorders is no change.
        try:
            before, nodes = gs.export_onnx(surgeon, do_type_check=False), len(graph.nodes)
        except Exception as error:  # whatever its own code trips over; the function has not run yet
            raise UnsupportedError(f"onnx-graphsurgeon cannot carry this model ({type(error).__name__}: {error})") from error
        returned = self.function(surgeon, **{field.name: getattr(self, field.name) for field in fields(self)})
        result = surgeon if returned is None else returned
        if not isinstance(result, gs.Graph):
            raise PluginError(f"pass '{self.name}' returned {type(result).__name__}; it must return a graphsurgeon Graph or nothing")
        if gs.export_onnx(result, do_type_check=False) == before:
            return PassResult(changed=False)  # and the graph stays exactly as it was
        graph.become(type(graph).from_graphsurgeon(result, original=graph))
        return PassResult(changed=True, summary={"nodes_before": nodes, "nodes_after": len(graph.nodes)})


def _pass_of(function: Function, name: str | None) -> type[Pass]:
    _, *arguments = inspect.signature(function).parameters.values()
    words = [word for word in function.__name__.split("_") if word]
    namespace = {"name": name or "-".join(words), "function": staticmethod(function), "__doc__": function.__doc__}
    made = make_dataclass(
        "".join(word.capitalize() for word in words),
        [_field(function, argument) for argument in arguments],
        bases=(_SurgeonPass,),
        namespace=namespace,
        frozen=True,
        kw_only=True,
    )
    made.__module__, made.__qualname__ = function.__module__, function.__qualname__  # annotations are looked up there
    return made


def _field(function: Function, argument: inspect.Parameter) -> tuple[str, Any] | tuple[str, Any, Any]:
    where = f"{function.__name__}, argument '{argument.name}'"
    if argument.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        raise TypeError(f"{where}: a surgeon pass needs its parameters one by one")
    if argument.annotation is inspect.Parameter.empty:
        raise TypeError(f"{where}: annotate it with the parameter's type")
    if argument.default is inspect.Parameter.empty:
        return argument.name, argument.annotation
    return argument.name, argument.annotation, argument.default
