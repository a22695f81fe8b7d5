"""MLflow's own server with what Databricks has around it: registry in Unity Catalog, artifacts."""
