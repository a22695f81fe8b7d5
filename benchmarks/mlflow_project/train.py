"""The training as a plain script: the same package, tracking server, Spark and parameters as the job."""

import argparse
import json
import os

from diabetes import PROBLEM
from diabetes_mlops import train
from diabetes_mlops.runs.settings import TrainingSettings
from pyspark.sql import SparkSession

parser = argparse.ArgumentParser(description=__doc__)
for name in ("training_data", "experiment_name", "model_name", "alpha"):
    parser.add_argument(f"--{name}", required=True)
given = vars(parser.parse_args())
widgets = given | {"model_params": f"alpha={given['alpha']}"}
settings = TrainingSettings.from_widgets(widgets, PROBLEM)
spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
print(json.dumps(train.run(spark, settings, PROBLEM)))
