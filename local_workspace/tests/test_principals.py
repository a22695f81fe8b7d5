"""Users, groups, service principals and their tokens, by the official client."""

from collections.abc import Callable

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import (
    InvalidParameterValue,
    NotFound,
    PermissionDenied,
    ResourceAlreadyExists,
)
from databricks.sdk.service.iam import ComplexValue, Patch, PatchOp, PatchSchema
from databricks.sdk.service.jobs import JobRunAs, NotebookTask, SubmitTask, Task

SCHEMAS = [PatchSchema.URN_IETF_PARAMS_SCIM_API_MESSAGES_2_0_PATCH_OP]


@pytest.fixture
def signed_in_as(local) -> Callable[[str], WorkspaceClient]:
    """A client of a user, who is made where there is none of the name."""

    def sign_in(user: str) -> WorkspaceClient:
        if not list(local.client.users.list(filter=f'userName eq "{user}"')):
            local.client.users.create(user_name=user)
        made = local.request("POST", "/api/2.0/local-workspace/tokens", body={"user_name": user})
        return WorkspaceClient(host=local.host, token=made["token_value"], auth_type="pat")

    return sign_in


def members_of(client: WorkspaceClient, group_id: str) -> set[str]:
    return {member.display for member in client.groups.get(group_id).members or []}


def deactivate(local, user_id: str) -> None:
    """As the official client would, if it did not leave out what is false."""
    body = {"schemas": [], "Operations": [{"op": "replace", "path": "active", "value": False}]}
    local.request("PATCH", f"/api/2.0/preview/scim/v2/Users/{user_id}", body=body)


def test_a_user_is_who_they_are_and_in_the_groups_they_are_in(local, signed_in_as):
    ann = signed_in_as("ann@example.com")
    group = local.client.groups.create(
        display_name="scientists", members=[ComplexValue(value=ann.current_user.me().id)]
    )

    me = ann.current_user.me()

    assert (me.user_name, [group.display for group in me.groups]) == ("ann@example.com", ["scientists"])
    assert members_of(ann, group.id) == {"ann@example.com"}
    assert local.client.current_user.me().user_name == "local.user@localhost"
    with pytest.raises(ResourceAlreadyExists, match="Ann@example"):
        local.client.users.create(user_name="Ann@example.com")


def test_members_come_and_go_by_patch(local, signed_in_as):
    ids = {name: signed_in_as(name).current_user.me().id for name in ("bea@example.com", "cem@example.com")}
    group = local.client.groups.create(display_name="come-and-go")

    def patch(op: PatchOp, path: str, *names: str) -> set[str]:
        value = [{"value": ids[name]} for name in names] or None
        operation = Patch(op=op, path=path, value=value)
        local.client.groups.patch(group.id, operations=[operation], schemas=SCHEMAS)
        return members_of(local.client, group.id)

    assert patch(PatchOp.ADD, "members", *ids) == set(ids)
    assert patch(PatchOp.REMOVE, f'members[value eq "{ids["bea@example.com"]}"]') == {"cem@example.com"}
    assert patch(PatchOp.REPLACE, "members", "bea@example.com") == {"bea@example.com"}
    with pytest.raises(InvalidParameterValue, match="not ids of principals"):
        local.client.groups.patch(
            group.id, operations=[Patch(PatchOp.ADD, "members", [{"value": "none"}])], schemas=SCHEMAS
        )


def test_a_service_principal_signs_in_with_a_token_that_an_administrator_made(local):
    principal = local.client.service_principals.create(display_name="pipeline")
    made = local.client.token_management.create_obo_token(principal.application_id, lifetime_seconds=600)
    client = WorkspaceClient(host=local.host, token=made.token_value, auth_type="pat")
    signed_in = client.current_user.me()

    client.tokens.create(comment="second")
    listed = {token.comment for token in client.tokens.list()}
    local.client.token_management.delete(made.token_info.token_id)

    assert signed_in.display_name == "pipeline"
    assert listed == {"", "second"}
    with pytest.raises(PermissionDenied, match="Invalid access token"):
        client.current_user.me()


def test_who_is_inactive_or_gone_is_not_let_in(local, signed_in_as):
    client = signed_in_as("leaver@example.com")
    user_id = client.current_user.me().id
    deactivate(local, user_id)
    with pytest.raises(PermissionDenied, match="Invalid access token"):
        client.current_user.me()

    local.client.users.delete(user_id)

    with pytest.raises(NotFound):
        local.client.users.get(user_id)
    with pytest.raises(PermissionDenied, match="Invalid access token"):
        client.current_user.me()


def test_administrators_alone_change_principals_and_hand_out_tokens(local, signed_in_as):
    client = signed_in_as("curious@example.com")
    principal = local.client.service_principals.create(display_name="of-somebody")

    for refused in (
        lambda: client.users.create(user_name="friend@example.com"),
        lambda: client.token_management.create_obo_token(principal.application_id),
        lambda: client.groups.delete("2"),
        lambda: client.api_client.do("POST", "/api/2.0/local-workspace/tokens", body={"user_name": "x"}),
    ):
        with pytest.raises(PermissionDenied):
            refused()
    assert "curious@example.com" in {user.user_name for user in client.users.list()}


def test_the_first_user_stays_an_administrator(local):
    assert [group.display for group in local.client.current_user.me().groups] == ["admins"]
    for refused in (
        lambda: local.client.users.delete("1"),
        lambda: local.client.groups.patch(
            "2", operations=[Patch(PatchOp.REMOVE, 'members[value eq "1"]')], schemas=SCHEMAS
        ),
        lambda: deactivate(local, "1"),
    ):
        with pytest.raises(InvalidParameterValue, match="stays"):
            refused()


def test_a_run_is_one_of_whom_the_job_names_or_of_who_made_it(local, signed_in_as, cluster_id, notebook):
    ann = signed_in_as("runner@example.com")
    task = Task("main", existing_cluster_id=cluster_id, notebook_task=NotebookTask(notebook))
    of_ann = ann.jobs.create(name="of-runner", tasks=[task]).job_id
    as_ann = local.client.jobs.create(
        name="as-runner", tasks=[task], run_as=JobRunAs(user_name="runner@example.com")
    ).job_id
    mine = local.client.jobs.create(name="of-the-first", tasks=[task]).job_id

    who = {job_id: local.client.jobs.get(job_id).run_as_user_name for job_id in (of_ann, as_ann, mine)}
    run = ann.jobs.run_now_and_wait(mine)
    submitted = ann.jobs.submit_and_wait(
        tasks=[SubmitTask("main", existing_cluster_id=cluster_id, notebook_task=NotebookTask(notebook))]
    )

    assert list(who.values()) == ["runner@example.com", "runner@example.com", "local.user@localhost"]
    shown = {
        each.run_id: local.request("GET", f"/api/2.2/jobs/runs/get?run_id={each.run_id}")
        for each in (run, submitted)
    }
    assert shown[run.run_id]["run_as_user_name"] == "local.user@localhost"
    assert shown[submitted.run_id]["run_as_user_name"] == "runner@example.com"
    with pytest.raises(PermissionDenied, match=r"runner@example\.com may not let a job run as local\.user"):
        ann.jobs.create(tasks=[task], run_as=JobRunAs(user_name="local.user@localhost"))
