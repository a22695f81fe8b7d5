"""Words that several floors have to agree on."""

# The ids of the workspace, and of the account that it would belong to.
WORKSPACE_ID = "1"
ACCOUNT_ID = "00000000-0000-0000-0000-000000000001"
