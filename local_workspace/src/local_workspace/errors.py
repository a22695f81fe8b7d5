"""The errors of the REST API, with Databricks' own codes and HTTP statuses.

ApiError
├── DoesNotExist          RESOURCE_DOES_NOT_EXIST     404
├── AlreadyExists         RESOURCE_ALREADY_EXISTS     400
│   └── NameTaken         RESOURCE_ALREADY_EXISTS     409 (workspace files)
├── InvalidParameter      INVALID_PARAMETER_VALUE     400
│   └── PathRefused       INVALID_PARAMETER_VALUE     400 (in a notebook an OSError)
├── MalformedRequest      MALFORMED_REQUEST           400
├── InvalidState          INVALID_STATE               400
├── DirectoryNotEmpty     DIRECTORY_NOT_EMPTY         400
│   └── FolderInUse       DIRECTORY_NOT_EMPTY         400 (files API, with a reason)
├── BlockTooLarge         MAX_BLOCK_SIZE_EXCEEDED     400
├── ReadTooLarge          MAX_READ_SIZE_EXCEEDED      400
├── NotebookTooLarge      MAX_NOTEBOOK_SIZE_EXCEEDED  400
├── RequestTooLarge       MAX_REQUEST_SIZE_EXCEEDED   413
├── LimitExceeded         RESOURCE_LIMIT_EXCEEDED     400
├── StorageError          IO_ERROR                    400
│   └── DiskFull          IO_ERROR                    507
├── Unauthenticated       UNAUTHENTICATED             401
├── PermissionDenied      PERMISSION_DENIED           403
└── NotSupported          NOT_IMPLEMENTED             501
"""

import errno
import sqlite3


class ApiError(Exception):
    """A refused request: `error_code` and `status` are Databricks' own, `message` carries the values."""

    error_code = "INTERNAL_ERROR"
    status = 500
    # A finer reason, for clients that tell errors of one code apart by it.
    reason = ""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class DoesNotExist(ApiError):
    """What was asked for is not there."""

    error_code = "RESOURCE_DOES_NOT_EXIST"
    status = 404


class AlreadyExists(ApiError):
    """The name is taken."""

    error_code = "RESOURCE_ALREADY_EXISTS"
    status = 400


class NameTaken(AlreadyExists):
    """The name is taken, said with the status that workspace files use."""

    status = 409


class InvalidParameter(ApiError):
    """A value in the request is missing or wrong."""

    error_code = "INVALID_PARAMETER_VALUE"
    status = 400


class PathRefused(InvalidParameter, OSError):
    """What is at a path stays, or does not go there; a notebook catches it as the OSError that it is."""


class MalformedRequest(ApiError):
    """The request's body cannot be read."""

    error_code = "MALFORMED_REQUEST"
    status = 400


class InvalidState(ApiError):
    """The thing exists, but not in a state that allows this."""

    error_code = "INVALID_STATE"
    status = 400


class DirectoryNotEmpty(ApiError):
    """A folder with something in it is deleted without `recursive`."""

    error_code = "DIRECTORY_NOT_EMPTY"
    status = 400


class FolderInUse(DirectoryNotEmpty):
    """A folder with something in it, said with the reason that clients of the files API look for."""

    reason = "FILES_API_DIRECTORY_IS_NOT_EMPTY"


class BlockTooLarge(ApiError):
    """More bytes in one request than DBFS takes."""

    error_code = "MAX_BLOCK_SIZE_EXCEEDED"
    status = 400


class ReadTooLarge(ApiError):
    """More bytes asked for in one request than DBFS gives."""

    error_code = "MAX_READ_SIZE_EXCEEDED"
    status = 400


class NotebookTooLarge(ApiError):
    """More bytes than a notebook, or a file that is sent as JSON, may have."""

    error_code = "MAX_NOTEBOOK_SIZE_EXCEEDED"
    status = 400


class RequestTooLarge(ApiError):
    """A body of more bytes than this route takes; the code is the local workspace's own."""

    error_code = "MAX_REQUEST_SIZE_EXCEEDED"
    status = 413


class LimitExceeded(ApiError):
    """There are as many things of this kind as there may be."""

    error_code = "RESOURCE_LIMIT_EXCEEDED"
    status = 400


class StorageError(ApiError):
    """DBFS cannot do this to a file or folder."""

    error_code = "IO_ERROR"
    status = 400


class DiskFull(StorageError):
    """There is no room for what was sent; the state is as it was before."""

    status = 507


class Unauthenticated(ApiError):
    """A request without a credential that could be looked at."""

    error_code = "UNAUTHENTICATED"
    status = 401


class PermissionDenied(ApiError):
    """A request whose credential, or whose page, may not do this."""

    error_code = "PERMISSION_DENIED"
    status = 403


class NotSupported(ApiError):
    """Databricks has this, the local workspace has not."""

    error_code = "NOT_IMPLEMENTED"
    status = 501


def is_disk_full(error: BaseException) -> bool:
    """Whether the operating system or sqlite found no room to write."""
    if isinstance(error, sqlite3.OperationalError):
        return error.sqlite_errorcode == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def refusal_of(error: Exception) -> ApiError:
    """The error in words for a client; what has none is raised again."""
    if isinstance(error, ApiError):
        return error
    if is_disk_full(error):
        return DiskFull(f"The disk of the workspace is full ({error}). Free some space and send it again.")
    if isinstance(error, FileNotFoundError):
        return DoesNotExist(f"It was removed while it was asked for ({error}).")
    raise error
