"""Frozen values with slots, as ``dataclasses`` makes them, at a tenth of its price.

``@dataclass(frozen=True, slots=True)`` compiles the source of six methods for every class: a third of a millisecond
each, and importing the module takes longer than starting Python. Here the methods are shared functions. What a type
checker sees is the real thing; ``dataclasses.replace``, ``fields`` and ``asdict`` work on these classes too. Only what
this program uses is here: no ``init=False``, no ``kw_only``, no ``__post_init__`` (docs/adr/0006-frozen-values.md).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace
else:
    _MISSING = object()
    _setattr = object.__setattr__

    class _Field:
        """What a field was declared with."""

        __slots__ = ("annotation", "compare", "default", "default_factory", "repr")

        def __init__(self, default, default_factory, repr, compare):  # noqa: A002 - dataclasses' own names
            self.default = default
            self.default_factory = default_factory
            self.repr = repr
            self.compare = compare
            self.annotation = None

    def field(*, default=_MISSING, default_factory=_MISSING, repr=True, compare=True):  # noqa: A002 - as above
        """Declare a field with more than a default, as :func:`dataclasses.field` does."""
        return _Field(default, default_factory, repr, compare)

    def replace(value, /, **changes):
        """Return a value of the same class with some fields changed, as :func:`dataclasses.replace` does."""
        same = {name: getattr(value, name) for name in type(value).__value_fields__ if name not in changes}
        return type(value)(**same, **changes)

    def dataclass(*, frozen, slots):
        """Make a class of frozen values with slots out of its annotations."""
        if not (frozen and slots):
            raise TypeError("only frozen values with slots are made here")
        return _made

    def _made(cls):
        fields = {}
        for base in reversed(cls.__mro__[1:]):
            fields.update(getattr(base, "__value_fields__", {}))
        own = {}
        for name, annotation in cls.__dict__.get("__annotations__", {}).items():
            if "ClassVar" not in str(annotation):
                own[name] = _declared(cls.__dict__.get(name, _MISSING), annotation)
        fields.update(own)
        given = {key: value for key, value in cls.__dict__.items() if key not in own and key not in _LEFT_OUT}
        shared = {name: method for name, method in _METHODS.items() if name not in given}
        # A method that somebody wrote is kept; one without __hash__ beside its __eq__ is not hashable, as in any class.
        if given.get("__hash__", _MISSING) is None and "__eq__" not in cls.__dict__:
            given.pop("__hash__")
        description = {"__slots__": tuple(own), "__match_args__": tuple(fields), "__value_fields__": fields}
        made = type(cls)(cls.__name__, cls.__bases__, {**given, **shared, **description})
        made.__qualname__ = cls.__qualname__
        return made

    def _declared(value, annotation):
        declared = value if isinstance(value, _Field) else _Field(value, _MISSING, True, True)
        declared.annotation = annotation
        return declared

    def _init(self, *args, **kwargs):
        fields = type(self).__value_fields__
        if len(args) > len(fields):
            raise TypeError(f"{type(self).__name__} takes {len(fields)} values, {len(args)} were given")
        values = dict(zip(fields, args, strict=False))
        for name, value in kwargs.items():
            if name not in fields or name in values:
                raise TypeError(f"{type(self).__name__} got an unknown or repeated value {name!r}")
            values[name] = value
        for name, declared in fields.items():
            if name in values:
                _setattr(self, name, values[name])
            elif declared.default is not _MISSING:
                _setattr(self, name, declared.default)
            elif declared.default_factory is not _MISSING:
                _setattr(self, name, declared.default_factory())
            else:
                raise TypeError(f"{type(self).__name__} is missing the value {name!r}")

    def _repr(self):
        shown = (name for name, declared in type(self).__value_fields__.items() if declared.repr)
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def _compared(self):
        fields = type(self).__value_fields__
        return tuple(getattr(self, name) for name, declared in fields.items() if declared.compare)

    def _eq(self, other):
        return _compared(self) == _compared(other) if other.__class__ is self.__class__ else NotImplemented

    def _hash(self):
        return hash(_compared(self))

    def _refuse(self, name, *_):
        from dataclasses import FrozenInstanceError  # noqa: PLC0415 - only for who tries

        raise FrozenInstanceError(f"cannot change {name!r}")

    def _reduce(self):
        return type(self), tuple(getattr(self, name) for name in type(self).__value_fields__)

    class _StandardFields:
        """What ``dataclasses`` looks for on a class, made when somebody looks."""

        def __get__(self, instance, owner):
            import dataclasses  # noqa: PLC0415 - only for who asks

            standard = {}
            for name, declared in owner.__value_fields__.items():
                given = {
                    key: getattr(declared, key)
                    for key in ("default", "default_factory")
                    if getattr(declared, key) is not _MISSING
                }
                made = dataclasses.field(repr=declared.repr, compare=declared.compare, **given)
                made.name, made.type, made._field_type = name, declared.annotation, dataclasses._FIELD  # noqa: SLF001 - no public way
                standard[name] = made
            return standard

    _LEFT_OUT = frozenset({"__dict__", "__weakref__"})
    _METHODS = {
        "__init__": _init,
        "__repr__": _repr,
        "__eq__": _eq,
        "__hash__": _hash,
        "__setattr__": _refuse,
        "__delattr__": _refuse,
        "__reduce__": _reduce,
        "__dataclass_fields__": _StandardFields(),
    }

__all__ = ["dataclass", "field", "replace"]
