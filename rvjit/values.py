"""`dataclass`, `field`, `replace`, and base classes imported later: what every start needs.

The standard library's `dataclasses` costs a start 10 ms, half of what it may take: it imports
`inspect` and compiles source text for each class. What is here does less, and for type checkers
`dataclass`, `field` and `replace` are the standard library's.
"""

from __future__ import annotations

from collections.abc import Iterable

TYPE_CHECKING = False


def later(module: str, name: str, attributes: Iterable[str]) -> type:
    """Make a class that becomes the class *name* of *module* when one of *attributes* is used.

    For base classes that few runs need, and whose import would cost every start.
    """

    class Stand:
        def __init__(self, attribute: str) -> None:
            self._attribute = attribute

        def __get__(self, instance: object, owner: type) -> object:
            for key, value in vars(getattr(__import__(module, fromlist=[name]), name)).items():
                if not key.startswith("__"):
                    setattr(made, key, value)
            return getattr(owner if instance is None else instance, self._attribute)

    made = type(name, (), {each: Stand(each) for each in attributes})
    return made


if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace

    __all__ = ["dataclass", "field", "later", "replace"]
else:
    _NONE = object()

    class _Field:
        """One field: where its value comes from, and where it shows."""

        def __init__(self, default, default_factory, init, show, compare):
            self.name = ""
            self.default = default
            self.default_factory = default_factory
            self.init = init
            self.repr = show
            self.compare = compare

        def absent(self):
            """Return the value where none was given; `_NONE` if there must be one."""
            return self.default if self.default_factory is None else self.default_factory()

    def field(
        *, default=_NONE, default_factory=None, init=True, repr=True, compare=True, hash=None
    ):
        """Describe a field, as `dataclasses.field`; *hash* is what *compare* is unless False."""
        made = _Field(default, default_factory, init, repr, compare)
        made.hash = compare if hash is None else hash
        return made

    def dataclass(cls=None, /, *, frozen=False, eq=True, init=True):
        """Make a class of fields of *cls*, as `dataclasses.dataclass`."""
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen, eq=eq, init=init)
        fields = list(getattr(cls, "__value_fields__", ()))
        for name in vars(cls).get("__annotations__") or cls.__annotations__:
            given = vars(cls).get(name, _NONE)
            each = given if isinstance(given, _Field) else field(default=given)
            each.name = name
            if each is given:
                delattr(cls, name)
            fields.append(each)
        cls.__value_fields__ = tuple(fields)
        cls.__match_args__ = tuple(each.name for each in fields if each.init)
        if init:
            cls.__init__ = _init
        if "__repr__" not in vars(cls):
            cls.__repr__ = _repr
        if eq:
            cls.__eq__ = _eq
            cls.__hash__ = _hash if frozen else None
        if frozen:
            cls.__setattr__ = _set
            cls.__delattr__ = _delete
        return cls

    def replace(value, /, **changes):
        """Return a copy of *value* with some fields changed, as `dataclasses.replace`."""
        for each in value.__value_fields__:
            if each.init:
                changes.setdefault(each.name, getattr(value, each.name))
        return type(value)(**changes)

    def _init(self, /, *given, **named):
        values = self.__dict__  # also where assignment is refused
        fields = [each for each in self.__value_fields__ if each.init]
        if len(given) > len(fields):
            raise TypeError(f"{type(self).__name__}: {len(given)} values for {len(fields)} fields")
        for each, value in zip(fields, given, strict=False):
            values[each.name] = value
        for each in self.__value_fields__:
            name = each.name
            if each.init and name in named:
                if name in values:
                    raise TypeError(f"{type(self).__name__}: two values for {name}")
                values[name] = named.pop(name)
            elif name not in values:
                value = each.absent()
                if value is not _NONE:
                    values[name] = value
                elif each.init:
                    raise TypeError(f"{type(self).__name__}: no value for {name}")
        if named:
            raise TypeError(f"{type(self).__name__}: no fields {', '.join(named)}")
        if hasattr(self, "__post_init__"):
            self.__post_init__()

    def _repr(self):
        shown = (f"{e.name}={getattr(self, e.name)!r}" for e in self.__value_fields__ if e.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def _compared(self):
        return tuple(getattr(self, each.name) for each in self.__value_fields__ if each.compare)

    def _eq(self, other):
        return _compared(self) == _compared(other) if type(other) is type(self) else NotImplemented

    def _hash(self):
        return hash(tuple(getattr(self, e.name) for e in self.__value_fields__ if e.hash))

    def _set(self, name, value):
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def _delete(self, name):
        raise AttributeError(f"{type(self).__name__}.{name} cannot be taken away")
