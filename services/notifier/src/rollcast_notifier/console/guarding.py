"""What stands before every page: headers that keep browsers strict, whom the server answers as, how much it takes."""

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["MOST_BODY_BYTES", "Guard", "is_https"]

MOST_BODY_BYTES = 65_536

_HEADERS = {
    # Everything from here, nothing inline: a text that somebody smuggles in as markup or script does nothing.
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class _TooLarge(Exception):
    """Somebody sends more than they may."""


class Guard:
    """The outermost layer. `hosts` are the names under which it answers; without any, under all."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if refusal := self._refusal(Headers(scope=scope)):
            await refusal(scope, receive, _strict(send))
            return
        taken, has_answered = 0, False

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MOST_BODY_BYTES:  # it had declared less, or nothing
                raise _TooLarge
            return message

        strict = _strict(send)

        async def noted(message: Message) -> None:
            nonlocal has_answered
            has_answered = True
            await strict(message)

        try:
            await self._app(scope, limited, noted)
        except _TooLarge:
            if not has_answered:
                await _too_large()(scope, receive, strict)

    def _refusal(self, headers: Headers) -> Response | None:
        if self._hosts and _name_of(headers.get("host", "")) not in self._hosts:
            # A page of another site may have had its name point here.
            return PlainTextResponse("This console is not called that; ROLLCAST_CONSOLE_HOSTS names it.\n", 400)
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared) > MOST_BODY_BYTES:
            return _too_large()
        return None


def _strict(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                own[name] = value
            own.setdefault("Cache-Control", "no-store")
        await send(message)

    return guarded


def _too_large() -> Response:
    return PlainTextResponse(f"A request may have {MOST_BODY_BYTES} bytes.\n", 413, {"Connection": "close"})


def _name_of(host: str) -> str:
    """Without its port; `[::1]:8080` too."""
    if host.startswith("["):
        return host.partition("]")[0].removeprefix("[").lower()
    return host.partition(":")[0].lower()


def is_https(scheme: str, headers: Headers) -> bool:
    """Also behind a proxy that says so. Somebody who lies about it only makes a cookie of his own stricter."""
    return scheme == "https" or headers.get("x-forwarded-proto", "").partition(",")[0].strip() == "https"
