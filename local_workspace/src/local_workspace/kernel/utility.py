"""What every part of `dbutils` can do: tell what it offers."""

import inspect


class Utility:
    """A part of `dbutils`; `help()` prints its methods, `help("name")` one of them."""

    name = "dbutils"

    def help(self, method: str | None = None) -> None:
        """Prints what this utility offers."""
        members = {name: member for name, member in inspect.getmembers(self) if _is_offered(name, member)}
        if method is not None and method not in members:
            raise AttributeError(f"{self.name} has no method {method!r}; there are {sorted(members)}")
        print(f"{self.name}: {first_line(self)}")
        for name in [method] if method else members:
            print(_described(name, members[name]))


def first_line(documented: object) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def _is_offered(name: str, member: object) -> bool:
    return name[0] != "_" and (callable(member) or isinstance(member, Utility))


def _described(name: str, member: object) -> str:
    if not callable(member):
        return f"  {name}: {first_line(member)}"
    parameters = ", ".join(map(str, inspect.signature(member).parameters.values()))
    return f"  {name}({parameters}): {first_line(member)}"
