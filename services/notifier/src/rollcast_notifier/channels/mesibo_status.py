"""What the numbers of mesibo's SDK 2.x mean for us."""

from rollcast_common.contracts import ReceiptState

__all__ = ["BADREQ", "ONLINE", "RATELIMIT", "SILENT", "connection_problem", "receipt_of"]

ONLINE = 1

BADREQ = 0x85
"""The SDK's own code gives it for a message before it has signed in, too."""
RATELIMIT = 0x8C

_AUTHFAIL = 4

_CONNECTION = {
    0: "UNKNOWN",
    2: "OFFLINE",
    3: "SIGNOUT: the user was signed out, as when the same token signs in elsewhere; one notifier may use a token",
    5: "STOPPED",
    6: "CONNECTING",
    7: "CONNECTFAILURE: mesibo's servers cannot be reached",
    8: "NONETWORK: there is no network",
    9: "ONPREMISEERROR: the on-premise server and the app do not agree",
    10: "SUSPEND: the account is suspended; see the mesibo console",
    20: "UPDATE",
    21: "MANDUPDATE: this version of the SDK is too old for mesibo; install a newer one",
    22: "SHUTDOWN",
}

_MESSAGE: dict[int, ReceiptState] = {1: "sent", 2: "delivered", 3: "read", 0x84: "expired"}
_FIRST_FAILURE = 0x80
_FAILURES = {
    0x80: "FAIL",
    0x81: "USEROFFLINE",
    0x82: "INBOXFULL",
    0x83: "INVALIDDEST",
    0x84: "EXPIRED",
    0x88: "BLOCKED",
    0x90: "GROUPPAUSED",
    0x91: "NOTMEMBER",
}

SILENT = (
    "the SDK says nothing, as it does when the user token is malformed; is it a user's token, as "
    "`rollcast-notifier endpoints token` gives it, and not the app's?"
)


def connection_problem(status: int) -> str | None:
    """Why nothing can be sent in this state of the connection; None while all is well."""
    if status == ONLINE:
        return None
    if status == _AUTHFAIL:
        return (
            "AUTHFAIL: mesibo rejected the user token, or there is no way to mesibo (the SDK does not tell one from "
            "the other); check token_file and app_id, and whether this machine reaches mesibo's servers"
        )
    return _CONNECTION.get(status, f"connection status {status}")


def receipt_of(status: int) -> tuple[ReceiptState, str | None] | None:
    """What a message's status tells of an outgoing message: state and reason. None where it tells nothing."""
    if state := _MESSAGE.get(status):
        return state, _FAILURES.get(status)
    if status >= _FIRST_FAILURE:
        return "failed", _FAILURES.get(status, f"status {status}")
    return None
