"""Names the columns of a table of breast tumours: what each holds, and which values of it can be real."""

from diabetes.tabular import Column, Schema

SCHEMA = Schema(
    key=Column("CASE", "integer", "number of the case", low=1, high=2**53 - 1),
    # Measured on the cell nuclei of a sample: a mean over all of them, or the mean of the worst three.
    features=(
        Column("SIZE", "category", "mean perimeter", categories=("small", "medium", "large")),
        Column("TEXTURE", "number", "deviation of grey values", "", 1, 100),
        Column("SMOOTHNESS", "number", "variation of the radius", "", 0, 1),
        Column("CONCAVITY", "number", "depth of dents in the contour", "", 0, 2),
        Column("SYMMETRY", "number", "difference of the two halves", "", 0, 1),
        Column("FRACTAL", "number", "fractal dimension of the contour", "", 0, 1),
        Column("AREA_ERROR", "number", "standard error of the area", "µm²", 0, 2_000),
        Column("WORST_AREA", "integer", "worst area", "µm²", 50, 10_000),
        Column("WORST_TEXTURE", "number", "worst deviation of grey values", "", 1, 100),
    ),
    label=Column("MALIGNANT", "integer", "a malignant tumour", low=0, high=1),
)
