# Databricks notebook source
print("got", dbutils.widgets.get("alpha"), dbutils.widgets.get("text"))
