"""The languages of notebooks, and how a source file in each of them is marked."""

import re
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Language:
    """A notebook language: its official name, its file suffix and how its comments start."""

    name: str
    suffix: str
    comment: str

    @property
    def header(self) -> str:
        """The first line that makes a source file a notebook."""
        return f"{self.comment} Databricks notebook source"

    def begins(self, content: bytes) -> bool:
        """Whether the first line of `content` is the header; blanks behind it do not count."""
        return re.match(re.escape(self.header.encode()) + rb"[ \t]*(\r|\n|$)", content) is not None

    @property
    def separator(self) -> str:
        """What stands between two cells."""
        return f"\n\n{self.comment} COMMAND ----------\n\n"

    @property
    def magic(self) -> str:
        """What begins a cell of this language in a notebook of another."""
        return f"%{self.name.lower()}"

    @cached_property
    def marks(self) -> "Marks":
        """What its comments say of a notebook's cells."""
        comment = self.comment
        return Marks(
            header=re.compile(rf"\A{comment} Databricks notebook source[ \t]*$", re.MULTILINE),
            environment=re.compile(
                rf"\A{comment} /// script[ \t]*\n(?:{comment}.*\n)*?{comment} ///[ \t]*$\n?", re.MULTILINE
            ),
            separator=re.compile(rf"^{comment} COMMAND -{{10,}}[ \t]*$", re.MULTILINE),
            title=re.compile(rf"\A\s*{comment} DBTITLE \d+,(?P<title>.*)$", re.MULTILINE),
            magic=re.compile(rf"^{comment} MAGIC(?:[ \t]|$)", re.MULTILINE),
        )


@dataclass(frozen=True)
class Marks:
    """Patterns of the comments that divide a source file.

    What stands in the environment is for serverless compute: its version, and packages.
    """

    header: re.Pattern[str]
    environment: re.Pattern[str]
    separator: re.Pattern[str]
    title: re.Pattern[str]
    magic: re.Pattern[str]


PYTHON = Language("PYTHON", ".py", "#")
LANGUAGES = {
    language.name: language
    for language in (
        PYTHON,
        Language("SQL", ".sql", "--"),
        Language("SCALA", ".scala", "//"),
        Language("R", ".r", "#"),
    )
}
BY_SUFFIX = {language.suffix: language for language in LANGUAGES.values()}
