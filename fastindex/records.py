"""Results with names for their fields, and no order in which to unpack them: a field more breaks nobody.

They are what frozen dataclasses with slots are, for what any command may load: to load `dataclasses` takes
9 ms, a seventh of the start of `validate`.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, Self, dataclass_transform

__all__ = ['Record']


@dataclass_transform(frozen_default=True)
class _RecordType(type):
    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _RecordType:
        (above,) = bases or (None,)
        fields = tuple(namespace.get('__annotations__', ())) if above else ()
        defaults = {field: namespace.pop(field) for field in fields if field in namespace}
        namespace.update(
            __slots__=fields,
            __match_args__=(*getattr(above, '__match_args__', ()), *fields),
            _defaults={**getattr(above, '_defaults', {}), **defaults},
        )
        return super().__new__(cls, name, bases, namespace)


class Record(metaclass=_RecordType):
    """Base of classes that name their fields and their types, and maybe values for the last ones."""

    __match_args__: ClassVar[tuple[str, ...]]
    _defaults: ClassVar[dict[str, Any]]

    def __init__(self, *values: Any, **named: Any) -> None:
        given = {**self._defaults, **dict(zip(self.__match_args__, values, strict=False)), **named}
        if len(values) > len(self.__match_args__) or given.keys() != {*self.__match_args__}:
            raise TypeError(f'{type(self).__name__}: expected values of {", ".join(self.__match_args__)}')
        for name, value in given.items():
            object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """Get the fields and their values, in the order of the class."""
        return {name: getattr(self, name) for name in self.__match_args__}

    def replace(self, **changes: Any) -> Self:
        """Make another one that differs in some fields."""
        return type(self)(**{**self.to_dict(), **changes})

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f'{type(self).__name__} is frozen: {name} stays what it is')

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), tuple(self.to_dict().values())

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.__reduce__() == other.__reduce__()

    def __lt__(self, other: Self) -> bool:
        return self.__reduce__()[1] < other.__reduce__()[1]

    def __hash__(self) -> int:
        return hash(self.__reduce__())

    def _repr_html_(self) -> str:
        """Show it in a notebook as `print` does."""
        from html import escape

        return f'<pre>{escape(str(self))}</pre>'

    def __repr__(self) -> str:
        return f'{type(self).__name__}({", ".join(f"{k}={v!r}" for k, v in self.to_dict().items())})'
