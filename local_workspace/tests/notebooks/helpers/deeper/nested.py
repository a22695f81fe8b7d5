# Databricks notebook source
depth = "three folders down"
