"""No request that the workspace's own description allows, or forbids, makes it fail."""

from typing import Any

from fuzzing import fuzz, prepare

EXAMPLES = 350


def test_no_made_up_request_makes_the_workspace_fail(own_workspace: Any):
    document = own_workspace.request("GET", "/api/2.0/local-workspace/openapi.json")
    known = prepare(own_workspace.client)

    findings = fuzz(own_workspace.host, "x", document, known, EXAMPLES)

    assert not findings.failures, "\n\n".join(findings.failures.values())
    assert findings.requests >= EXAMPLES
    assert {200, 400, 404} <= findings.statuses.keys()


def test_the_description_has_every_route_and_what_it_takes(local: Any):
    paths = local.request("GET", "/api/2.0/local-workspace/openapi.json")["paths"]

    query = {field["name"]: field for field in paths["/api/2.0/dbfs/read"]["get"]["parameters"]}
    upload = {
        field["name"]: field for field in paths["/api/2.0/fs/files/Volumes/{path}"]["put"]["parameters"]
    }
    put = paths["/api/2.0/dbfs/put"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    settings = paths["/api/2.1/jobs/create"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert (query["path"]["required"], query["offset"]["schema"]["type"]) == (True, "integer")
    assert (put["required"], put["properties"]["overwrite"]) == (["path"], {"type": "boolean"})
    assert upload["overwrite"] == {
        "name": "overwrite",
        "in": "query",
        "required": False,
        "schema": {"type": "boolean"},
    }
    task = settings["properties"]["tasks"]["items"]["properties"]
    assert task["notebook_task"]["properties"]["notebook_path"] == {"type": "string"}
    assert not [path for path in paths if "{rest" in path]
