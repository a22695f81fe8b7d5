"""What a model and the code that scores with it have to agree on: the columns and the label.

Imports neither pandas nor MLflow, because a deployment compares contracts too.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from diabetes.tabular.columns import Schema

NUMBER = "number"
# Tags of a model version: its contract, and the exact version of the code that trained it.
CONTRACT = "contract"
CODE_VERSION = "diabetes_version"


@dataclass(frozen=True)
class Contract:
    """The features by name, each NUMBER or the categories that it has, the label's name and its classes.

    Categories that are not known are empty, and so is a label. A number has no classes.
    """

    features: Mapping[str, str | tuple[str, ...]]
    label: str = ""
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, schema: "Schema") -> Self:
        """What code with this schema asks of a model."""
        kinds = {
            each.name: each.categories if each.kind == "category" else NUMBER for each in schema.features
        }
        return cls(kinds, schema.label.name, schema.classes)

    @classmethod
    def from_json(cls, values: Any) -> Self | None:
        """Read what `as_json` gave; None for anything else."""
        match values:
            case {"features": dict(features), "label": str(label)} if features:
                kinds = {name: kind if kind == NUMBER else tuple(kind) for name, kind in features.items()}
                return cls(kinds, label, tuple(values.get("classes", ())))
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
        kinds = {name: kind if kind == NUMBER else list(kind) for name, kind in self.features.items()}
        classes = {"classes": list(self.classes)} if self.classes else {}
        return {"features": kinds, "label": self.label, **classes}

    def as_text(self) -> str:
        """Give the contract as a short text."""
        return json.dumps(self.as_json(), ensure_ascii=False, separators=(",", ":"))

    def differences(self, code: "Contract") -> list[str]:
        """Say what keeps code from scoring with a model of this contract, one text each; empty: nothing."""
        lacking = [name for name in self.features if name not in code.features]
        unknown = [name for name in code.features if name not in self.features]
        both = [
            (name, kind, code.features[name]) for name, kind in self.features.items() if name in code.features
        ]
        return [
            *([f"the code lacks columns {lacking}"] if lacking else []),
            *([f"the model does not know columns {unknown}"] if unknown else []),
            *chain.from_iterable(_compare(name, own, other) for name, own, other in both),
            *(
                [f"the model predicts {self.label}, the label of the code is {code.label}"]
                if self._is_of_another_label(code)
                else self._compare_classes(code)
            ),
        ]

    def _is_of_another_label(self, code: "Contract") -> bool:
        return bool(self.label and code.label and self.label != code.label)

    def _compare_classes(self, code: "Contract") -> list[str]:
        """A contract that knows the label knows its classes too, also where it has none."""
        are_known = (self.classes or self.label) and (code.classes or code.label)
        if self.classes == code.classes or not are_known:
            return []
        model, own = (
            f"the classes {list(each.classes)}" if each.classes else "a number" for each in (self, code)
        )
        return [f"the model predicts {model}, and the label of the code is {own}"]


def _compare(name: str, model: str | tuple[str, ...], code: str | tuple[str, ...]) -> Iterable[str]:
    words = ["a number" if kind == NUMBER else "a category" for kind in (model, code)]
    if words[0] != words[1]:
        yield f"{name} is {words[0]} to the model and {words[1]} to the code"
    elif model and code and model != code:
        yield f"{name} has the categories {list(model)} in the model and {list(code)} in the code"
