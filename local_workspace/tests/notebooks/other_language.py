# Databricks notebook source
# MAGIC %scala
# MAGIC println("not here")
