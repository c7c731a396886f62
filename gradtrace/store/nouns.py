"""The nouns of a trace as JSON objects and back; a field that an older trace lacks gets its default."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from gradtrace.model import Event, Finding, Module, Optimizer, Parameter, Source
from gradtrace.store.codec import dumps, loads


def encode(noun: Parameter | Module | Optimizer | Event | Finding | Source) -> str:
    """One row's content."""
    if isinstance(noun, Finding):
        return dumps(noun.to_dict())
    if isinstance(noun, Source):
        return dumps(noun._asdict())
    return dumps({field.name: getattr(noun, field.name) for field in fields(noun)})


def _object(text: str) -> dict[str, Any]:
    data = loads(text)
    if not isinstance(data, dict):
        raise TypeError("an object was expected")
    return data


def decode_parameter(text: str) -> Parameter:
    """Raises ValueError, TypeError or KeyError where `text` is no parameter; the functions below do so likewise."""
    data = _object(text)
    lists = {name: tuple(value) for name, value in data.items() if isinstance(value, list)}
    return Parameter(**{**data, **lists})


def decode_module(text: str) -> Module:
    return Module(**_object(text))


def decode_optimizer(text: str) -> Optimizer:
    data = _object(text)
    groups = tuple(tuple(group) for group in data["groups"])
    return Optimizer(**{**data, "parameters": tuple(data["parameters"]), "groups": groups})


def decode_source(text: str) -> Source:
    return Source(**_object(text))


def decode_event(text: str) -> Event:
    return Event(**_object(text))


def decode_finding(text: str) -> Finding:
    return Finding.from_dict(_object(text))


def decode_text(text: str) -> str:
    return str(loads(text))
