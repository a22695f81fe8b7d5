"""Names the columns of a table of sold houses: what each holds, and which values of it can be real."""

from diabetes.tabular import Column, Schema

SCHEMA = Schema(
    key=Column("PARCEL", "text", "number of the parcel in the land register"),
    features=(
        Column("SOLD", "date", "day of the sale", first="2015-01-01", last="2030-12-31"),
        Column("AREA", "number", "living area", "m²", 10, 2_000),
        Column("ROOMS", "integer", "rooms", "", 1, 60),
        Column("DISTRICT", "category", "district", categories=("centre", "north", "south", "river")),
        Column("BUILT", "integer", "year", "", 1500, 2030),
    ),
    label=Column("PRICE", "number", "price", "k€", 1, 100_000),
)
