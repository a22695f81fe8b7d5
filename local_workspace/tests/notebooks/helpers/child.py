# Databricks notebook source
import time

dbutils.widgets.text("who", "")
who = dbutils.widgets.get("who")
if who == "nobody":
    raise LookupError("nobody is there")
if who == "sleeper":
    time.sleep(60)
if who == "grandparent":
    who = dbutils.notebook.run("child", 120, {"who": "parent in between"})
dbutils.notebook.exit(f"hello {who}")
