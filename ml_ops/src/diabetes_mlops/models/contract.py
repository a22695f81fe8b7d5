"""What a model and the code that scores with it have to agree on: the columns and the label.

Imports neither pandas nor MLflow, because a deployment compares contracts too.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from diabetes.tabular.columns import Schema

NUMBER = "number"
OWN = "own"
# A date is one of these, with the day that it is counted from.
DATE = "date since "
# Tags of a model version: its contract, and the exact version of the code that trained it.
CONTRACT = "contract"
CODE_VERSION = "diabetes_version"


@dataclass(frozen=True)
class Contract:
    """The features by name, each NUMBER, DATE with a day or its categories, the label's name and its classes.

    Categories that are not known are empty, and so is a label. A number has no classes. `has_schema` is of a
    model that carries its schema, and of code that scores by such a schema.
    """

    features: Mapping[str, str | tuple[str, ...]]
    label: str = ""
    has_schema: bool = False
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, schema: "Schema") -> Self:
        """What code with this schema asks of a model."""
        dates = {name: f"{DATE}{first}" for name, first in schema.first_days.items()}
        kinds = {
            each.name: each.categories if each.kind == "category" else dates.get(each.name, NUMBER)
            for each in schema.features
        }
        return cls(kinds, schema.label.name, has_schema=True, classes=schema.classes)

    @classmethod
    def from_json(cls, values: Any) -> Self | None:
        """Read what `as_json` gave; None for anything else."""
        match values:
            case {"features": dict(features), "label": str(label)} if features or values.get("schema") == OWN:
                kinds = {
                    name: kind if isinstance(kind, str) else tuple(kind) for name, kind in features.items()
                }
                return cls(kinds, label, values.get("schema") == OWN, tuple(values.get("classes", ())))
        return None

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """Read what `as_text` gave; None for anything else, such as an empty text."""
        try:
            return cls.from_json(json.loads(text))
        except (ValueError, TypeError):
            return None

    def as_json(self) -> dict[str, Any]:
        """Give the contract as values that JSON has."""
        kinds = {name: kind if isinstance(kind, str) else list(kind) for name, kind in self.features.items()}
        own = {"schema": OWN} if self.has_schema else {}
        classes = {"classes": list(self.classes)} if self.classes else {}
        return {"features": kinds, "label": self.label, **own, **classes}

    def as_text(self) -> str:
        """Give the contract as a short text."""
        return json.dumps(self.as_json(), ensure_ascii=False, separators=(",", ":"))

    def differences(self, code: "Contract") -> list[str]:
        """Say what keeps code from scoring with a model of this contract, one text each; empty: nothing.

        A model that carries its schema has its rows read by it, whatever columns the code has.
        """
        columns = [] if self.has_schema and code.has_schema else self._column_differences(code)
        return [*columns, *self._label_differences(code)]

    def _column_differences(self, code: "Contract") -> Iterator[str]:
        lacking = [name for name in self.features if name not in code.features]
        unknown = [name for name in code.features if name not in self.features]
        if lacking:
            yield f"the code lacks columns {lacking}"
        if unknown:
            yield f"the model does not know columns {unknown}"
        for name, kind in self.features.items():
            if name in code.features:
                yield from _compare(name, kind, code.features[name])

    def _label_differences(self, code: "Contract") -> Iterator[str]:
        """A contract that knows the label knows its classes too, also where it has none."""
        if self.label and code.label and self.label != code.label:
            yield f"the model predicts {self.label}, the label of the code is {code.label}"
        elif self.classes != code.classes and (self.classes or self.label) and (code.classes or code.label):
            model, own = (
                f"the classes {list(each.classes)}" if each.classes else "a number" for each in (self, code)
            )
            yield f"the model predicts {model}, and the label of the code is {own}"


def _compare(name: str, model: str | tuple[str, ...], code: str | tuple[str, ...]) -> Iterator[str]:
    words = [_tell_kind(kind) for kind in (model, code)]
    if words[0] != words[1]:
        yield f"{name} is {words[0]} to the model and {words[1]} to the code"
    elif isinstance(model, str) and isinstance(code, str):
        if model != code:
            yield f"{name} is a {model} to the model and a {code} to the code"
    elif model and code and model != code:
        yield f"{name} has the categories {list(model)} in the model and {list(code)} in the code"


def _tell_kind(kind: str | tuple[str, ...]) -> str:
    if not isinstance(kind, str):
        return "a category"
    return "a date" if kind.startswith(DATE) else "a number"
