// Addresses such as /#/experiments/1 are MLflow's, whose page has moved to /mlflow.
if (location.hash.startsWith("#/")) location.replace("/mlflow" + location.hash);
