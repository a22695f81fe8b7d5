"""Names the columns of the table: what each holds, and which values of it can be real."""

from diabetes.tabular import Column, Schema

SCHEMA = Schema(
    # The largest ID is the largest whole number that a float64 holds without doubt.
    key=Column("ID", "integer", "row number", low=1, high=2**53 - 1),
    features=(
        Column("AGE", "integer", "age", "years", 0, 120),
        Column("SEX", "category", "sex", categories=("Female", "Male")),
        Column("BMI", "number", "body mass index", "kg/m²", 10, 80),
        Column("BP", "number", "average blood pressure", "mmHg", 30, 200),
        Column("S1", "number", "total serum cholesterol", "mg/dl", 50, 600),
        Column("S2", "number", "low-density lipoproteins", "mg/dl", 10, 500),
        Column("S3", "number", "high-density lipoproteins", "mg/dl", 5, 200),
        Column("S4", "number", "total cholesterol divided by high-density lipoproteins", "ratio", 1, 30),
        Column("S5", "number", "log of the serum triglycerides level", "log(mg/dl)", 2, 8),
        Column("S6", "number", "blood sugar level", "mg/dl", 20, 600),
    ),
    label=Column("Y", "number", "disease progression one year after baseline", "score", 0, 1000),
)
