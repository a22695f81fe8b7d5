// MLflow opens on machine learning, with its registry of models in the menu, until somebody chooses otherwise.
const KIND = "mlflow.workflowType_v1";
if (localStorage.getItem(KIND) === null) localStorage.setItem(KIND, JSON.stringify("machine_learning"));
