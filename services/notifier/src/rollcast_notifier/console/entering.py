"""Logging in and out, and who it is that asks."""

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from hashlib import sha256
from urllib.parse import parse_qs

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.templating import Jinja2Templates

from rollcast_notifier.console.guarding import is_https
from rollcast_notifier.console.sessions import Attempts, Session, Sessions
from rollcast_notifier.console.users import Users

__all__ = ["CSRF_HEADER", "Entrance"]

_log = structlog.get_logger()

CSRF_HEADER = "x-csrf-token"
_COOKIE = "rollcast_session"
_LOGIN_COOKIE = "rollcast_login"
_LOGIN_SECONDS = 3600

Handler = Callable[[Request, Session], Awaitable[Response]]


class Entrance:
    """`page` and `act` wrap what only people who are logged in may see and do."""

    def __init__(self, users: Users, sessions: Sessions, attempts: Attempts, templates: Jinja2Templates) -> None:
        self._users = users
        self._sessions = sessions
        self._attempts = attempts
        self._templates = templates
        self._key = secrets.token_bytes(32)

    def session_of(self, request: Request) -> Session | None:
        """None also where the user was removed or has another token since."""
        session = self._sessions.find(request.cookies.get(_COOKIE))
        if session is None or self._users.credential(session.user) != session.credential:
            return None
        return session

    def page(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """For a page: who is not logged in is led to the login."""

        @wraps(handler)
        async def guarded(request: Request) -> Response:
            session = self.session_of(request)
            return RedirectResponse("/login", 303) if session is None else await handler(request, session)

        return guarded

    def read(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """For what pages fetch."""

        @wraps(handler)
        async def guarded(request: Request) -> Response:
            session = self.session_of(request)
            return (
                _refusal(401, "you are not logged in any more") if session is None else await handler(request, session)
            )

        return guarded

    def act(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """For what changes something: only from a page of this session."""

        @wraps(handler)
        async def guarded(request: Request) -> Response:
            session = self.session_of(request)
            if session is None:
                return _refusal(401, "you are not logged in any more")
            if not _same(request.headers.get(CSRF_HEADER, ""), session.csrf):
                return _refusal(403, "this did not come from a page of this console; load the page again")
            return await handler(request, session)

        return guarded

    async def ask(self, request: Request) -> Response:
        """GET /login."""
        if self.session_of(request) is not None:
            return RedirectResponse("/", 303)
        return self._login_page(request)

    async def enter(self, request: Request) -> Response:
        """POST /login."""
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        name, token = _field(form, "user"), _field(form, "token")
        cookie = request.cookies.get(_LOGIN_COOKIE, "")
        if not cookie or not _same(_field(form, "csrf"), self._proof(cookie)):
            return self._login_page(request, "That page was too old. Please try again.", status=403, name=name)
        # With the address: nobody shall lock out others from elsewhere.
        who = f"{request.client.host if request.client else ''} {name}"
        if not self._attempts.may(who):
            _log.warning("a console login was refused: too many attempts", user=name[:80])
            text = "Too many attempts. Please wait a minute."
            return self._login_page(request, text, status=429, name=name)
        credential = self._users.credential(name)
        if not self._users.check(name, token) or credential is None:
            self._attempts.note(who)
            _log.warning("a console login was refused: wrong name or token", user=name[:80])
            return self._login_page(request, "Name and token do not belong together.", status=403, name=name)
        self._sessions.close(request.cookies.get(_COOKIE))
        response = RedirectResponse("/", 303)
        response.delete_cookie(_LOGIN_COOKIE)
        self._set(request, response, _COOKIE, self._sessions.open(name, credential))
        return response

    async def leave(self, request: Request) -> Response:
        """POST /logout, from the page's own form."""
        session = self.session_of(request)
        if session is not None:
            form = parse_qs((await request.body()).decode("utf-8", "replace"))
            if not _same(_field(form, "csrf"), session.csrf):
                return _refusal(403, "this did not come from a page of this console; load the page again")
            self._sessions.close(request.cookies.get(_COOKIE))
        response = RedirectResponse("/login", 303)
        response.delete_cookie(_COOKIE)
        return response

    def _login_page(self, request: Request, problem: str = "", *, status: int = 200, name: str = "") -> Response:
        cookie = request.cookies.get(_LOGIN_COOKIE) or secrets.token_urlsafe(32)
        context = {"csrf": self._proof(cookie), "problem": problem, "name": name[:80]}
        response = self._templates.TemplateResponse(request, "login.html", context, status_code=status)
        self._set(request, response, _LOGIN_COOKIE, cookie, seconds=_LOGIN_SECONDS)
        return response

    def _set(self, request: Request, response: Response, name: str, value: str, seconds: int | None = None) -> None:
        secure = is_https(request.url.scheme, request.headers)
        response.set_cookie(name, value, max_age=seconds, httponly=True, samesite="strict", secure=secure)

    def _proof(self, cookie: str) -> str:
        """That a login form and this cookie were handed out together; nothing is kept for those who never enter."""
        return hmac.new(self._key, cookie.encode(), sha256).hexdigest()


def _field(form: Mapping[str, list[str]], name: str) -> str:
    return form.get(name, [""])[0].strip()[:1000]


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _refusal(status: int, problem: str) -> Response:
    return JSONResponse({"problem": problem}, status)
