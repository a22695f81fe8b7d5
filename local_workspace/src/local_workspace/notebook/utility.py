"""What every part of `dbutils` can do: tell what it offers."""

import inspect


class Utility:
    """A part of `dbutils`; `help()` prints its methods, `help("name")` one of them."""

    name = "dbutils"

    def help(self, method: str | None = None) -> None:
        """Prints what this utility offers."""
        offered = [name for name, _ in inspect.getmembers(type(self)) if name[0] != "_"]
        if method is not None and method not in offered:
            raise AttributeError(f"{self.name} has no method {method!r}; there are {offered}")
        print(f"{self.name}: {_first_line(self)}")
        for name in [method] if method else offered:
            print(_described(name, getattr(type(self), name)))


def _described(name: str, member: object) -> str:
    if not callable(member):
        return f"  {name}: {_first_line(member)}" if inspect.getdoc(member) else f"  {name}"
    parameters = [p for p in inspect.signature(member).parameters.values() if p.name != "self"]
    return f"  {name}({', '.join(map(str, parameters))}): {_first_line(member)}"


def _first_line(documented: object) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0]
