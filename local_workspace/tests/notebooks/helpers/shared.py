# Databricks notebook source
dbutils.widgets.text("greeting", "hello")
dbutils.widgets.text("who", "world")


def greet():
    return f"{greeting}, {who}"


greeting, who = dbutils.widgets.get("greeting"), dbutils.widgets.get("who")

# COMMAND ----------

# MAGIC %run ./deeper/nested
