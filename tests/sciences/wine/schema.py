"""Names the columns of a table of wines: what each holds, and which values of it can be real."""

from diabetes.tabular import Column, Schema

SCHEMA = Schema(
    key=Column("BOTTLE", "integer", "number of the bottle", low=1, high=2**53 - 1),
    features=(
        Column("ALCOHOL", "number", "alcohol by volume", "%", 5, 25),
        Column("MALIC_ACID", "number", "malic acid", "g/l", 0, 20),
        Column("MAGNESIUM", "integer", "magnesium", "mg/l", 0, 500),
        Column("PHENOLS", "number", "total phenols", "g/l", 0, 20),
        Column("FLAVANOIDS", "number", "flavanoids", "g/l", 0, 20),
        Column("INTENSITY", "number", "intensity of the colour", "", 0, 50),
        Column("HUE", "category", "hue of the colour", categories=("low", "high")),
        Column("PROLINE", "integer", "proline", "mg/l", 0, 5_000),
    ),
    label=Column("CULTIVAR", "category", "cultivar", categories=("Barolo", "Grignolino", "Barbera")),
)
