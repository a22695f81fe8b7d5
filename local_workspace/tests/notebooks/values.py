# Databricks notebook source
# DBTITLE 1,whole numbers beside nothing
display(spark.sql("select * from values (9007199254740993L, 1), (null, 2) as t(id, n)"))

# COMMAND ----------

# DBTITLE 1,numbers
display(
    spark.sql(
        """select double('NaN') as nan, cast(null as double) as missing, 0.000001234D as small, 1e300D as large,
        double('-Infinity') as infinite, float(0.1) as single, 1.10BD as exact, -0.0D as zero, true as yes"""
    )
)

# COMMAND ----------

# DBTITLE 1,values within values
display(
    spark.sql(
        """select array(1L, null) as a, array(double('NaN'), null) as b, map('k', null) as m,
        named_struct('x', 9007199254740993L, 'y', null) as s, array(named_struct('z', 1)) as c,
        array('null', null) as words, array(X'0102') as bytes, map(X'01', 1) as keys,
        named_struct('t', timestamp'2020-01-01 00:00:00.000001', 'd', 1.10BD) as exact"""
    )
)

# COMMAND ----------

# DBTITLE 1,times
display(
    spark.sql(
        """select timestamp'9999-12-31 23:59:59.123456' as far, timestamp'0001-01-01 00:00:00' as early,
        timestamp'1969-12-31 23:59:59' as before, timestamp_ntz'2024-05-06 07:08:09' as local, date'0001-01-01' as day,
        interval '1-2' year to month as months, interval '3 04:05:06' day to second as days"""
    )
)

# COMMAND ----------

# DBTITLE 1,bytes and variants
display(spark.sql("select X'00ff' as bytes, parse_json('{\"a\": [1, null]}') as variant, void as nothing from (select null as void)"))

# COMMAND ----------

# DBTITLE 1,names
display(spark.sql("select 1 as a, 2 as a, 3 as `a.b`, 4 as `<b>`, '<i>&' as text"))

# COMMAND ----------

# DBTITLE 1,no rows
display(spark.sql("select 1L as id where false"))

# COMMAND ----------

# DBTITLE 1,pandas
import pandas as pd

frame = pd.DataFrame(
    {
        "n": pd.array([9007199254740993, None], dtype="Int64"),
        "f": [0.000001234, float("nan")],
        "t": pd.to_datetime(["2024-01-02", None]),
        "o": pd.Series(["x", None], dtype=object),
        "c": pd.Categorical(["u", "v"]),
        "long": ["y" * 80, [1, "a"]],
    }
)
display(frame)

# COMMAND ----------

# DBTITLE 1,an index with a name
display(frame["n"].rename_axis("row"))
display(pd.Index([1, 2], name="idx"))
display(pd.Index([1, 2]))

# COMMAND ----------

# DBTITLE 1,an index without a name
display(pd.DataFrame({"n": [1.0, 3.0]}).describe())
display(pd.DataFrame({"n": [1, 2, 3]})[lambda table: table["n"] > 2])

# COMMAND ----------

# DBTITLE 1,an index of two levels beside columns that are a category
table = pd.DataFrame({"a": ["x", "y"], "b": ["u", "v"], "c": pd.Categorical(["k", "l"]), "n": [1, 2]})
display(table.pivot_table(index=["a", "b"], columns="c", values="n", observed=False))

# COMMAND ----------

# DBTITLE 1,narrow numbers
display(pd.DataFrame({"n": pd.Series([0.1, None], dtype="float32")}))
display([{"n": pd.Series([0.1], dtype="float32")[0]}])

# COMMAND ----------

# DBTITLE 1,a table of Arrow
import pyarrow as pa

display(
    pa.table(
        {
            "n": pa.array([9007199254740993, None]),
            "f": pa.array([0.000001234, float("nan")]),
            "t": pa.array([None, 253402300799], pa.timestamp("s")),
            "l": pa.array([[1, None], None]),
        }
    )
)

# COMMAND ----------

# DBTITLE 1,by its method
spark.sql("select 9007199254740993L as id, cast(null as int) as n").display()

# COMMAND ----------

# DBTITLE 1,a styled table
display(frame[["n"]].style)

# COMMAND ----------

# DBTITLE 1,mixed lists
display([1, "a", None, 2.5])
display([{"id": 9007199254740993, "n": None}, {"id": None, "x": "y"}])
display(9007199254740993)

# COMMAND ----------

# DBTITLE 1,rows
from pyspark.sql import Row

display(spark.sql("select 1 as a, 2 as a").collect())
display([Row(1, 2), Row(3, 4)])
display([Row(a=1), Row(b=Row(c=2))])

# COMMAND ----------

# DBTITLE 1,SQL
# MAGIC %sql select 9007199254740993L as id union all select null

# COMMAND ----------

# DBTITLE 1,a parameter of a child
alpha = 1

# COMMAND ----------

# DBTITLE 1,run with a parameter
# MAGIC %run ./helpers/with_parameters $alpha="0.5" $text="{alpha} $alpha = 'x'"  # why
