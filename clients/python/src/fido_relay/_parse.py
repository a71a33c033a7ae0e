"""Parses JSON answers into dataclasses by their annotations: a wrong type is an error, an unknown
field is ignored, a value that a `Literal` does not list is kept."""

import dataclasses
import json
import types
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ._flow import Answer
from .errors import UnexpectedAnswer

T = TypeVar("T")


def parsed(form: type[T], answer: Answer) -> T:
    """Parses the body of a successful answer."""
    try:
        return parse(form, json.loads(answer.body))
    except (ValueError, TypeError, RecursionError) as error:
        raise UnexpectedAnswer(answer.status, f"a {form.__name__.strip('_')}") from error


def parse(form: type[T], body: object) -> T:
    if not isinstance(body, Mapping):
        raise TypeError("not an object")
    fields = {}
    hashable: Any = form
    for name, hint, is_required in _fields(hashable):
        if is_required or name in body:
            fields[name] = _value(name, hint, body.get(name))
    return form(**fields)


@lru_cache
def _fields(form: Any) -> list[tuple[str, Any, bool]]:
    hints = get_type_hints(form)
    return [
        (field.name, hints[field.name], field.default is dataclasses.MISSING)
        for field in dataclasses.fields(form)
    ]


def _value(name: str, hint: Any, value: object) -> object:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return None if value is None else _value(name, arguments[0], value)
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{name} is not a list")
        return tuple(_value(name, arguments[0], one) for one in value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return parse(hint, value)
    plain: Any = str if origin is Literal else origin or hint
    if not isinstance(value, plain) or (isinstance(value, bool) and plain is not bool):
        raise TypeError(f"{name} is not of type {plain.__name__}")
    return value
