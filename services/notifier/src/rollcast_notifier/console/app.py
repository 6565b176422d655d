"""The console's pages and what they fetch and post."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path

import msgspec
from anyio import to_thread
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import Scope

from rollcast_common.errors import RollcastError
from rollcast_notifier.console.asking import form_of
from rollcast_notifier.console.entering import Entrance
from rollcast_notifier.console.frames import FRAMES_A_SECOND, Frames, view_of
from rollcast_notifier.console.guarding import Guard
from rollcast_notifier.console.live import Live
from rollcast_notifier.console.mailbox import Mailbox
from rollcast_notifier.console.predictions import Filter
from rollcast_notifier.console.sessions import Attempts, Session, Sessions
from rollcast_notifier.console.talking import NotTaken, Talk
from rollcast_notifier.console.users import Users

__all__ = ["make_console"]

_HERE = Path(__file__).parent
_VIEWS = {
    "live": ("Live", "What the models say, as they say it"),
    "ask": ("Ask", "Ask a model, and tell it what really happened"),
    "models": ("Models", "Who answers what, and how rollouts go"),
    "accuracy": ("Accuracy", "What was predicted against what really happened"),
    "dead-letters": ("Dead letters", "Requests that got no prediction, and why"),
}
_SESSION_SECONDS = 12 * 3600.0
_SEND_SECONDS = 30.0
_MOST_PAGES = 200
_MOST_PAGES_EACH = 20
_BETWEEN_FRAMES = 1 / FRAMES_A_SECOND
_QUIET_SECONDS = 10.0


class Console:
    """The handlers. What may wait (files, S3, Kafka) is done in threads."""

    def __init__(
        self,
        live: Live,
        mailbox: Mailbox,
        talk: Talk,
        users: Users,
        *,
        installation: str,
        on_sessions: Callable[[int], None],
        closing: Callable[[], bool],
    ) -> None:
        self._live = live
        self._mailbox = mailbox
        self._talk = talk
        self._on_sessions = on_sessions
        self._closing = closing
        self._open: Counter[str] = Counter()
        self._templates = Jinja2Templates(_HERE / "templates")
        self._templates.env.globals.update(installation=installation, views=_VIEWS)
        sessions = Sessions(lifetime_seconds=_SESSION_SECONDS)
        attempts = Attempts(each=5, together=60, within_seconds=60)
        self._entrance = Entrance(users, sessions, attempts, self._templates)

    def routes(self) -> list[Route | Mount]:
        entrance = self._entrance
        pages = [Route(f"/{view}", entrance.page(self._page), methods=["GET"], name=view) for view in _VIEWS]
        return [
            Route("/", lambda _: RedirectResponse("/live", 303), methods=["GET"]),
            *pages,
            Route("/login", entrance.ask, methods=["GET"]),
            Route("/login", entrance.enter, methods=["POST"]),
            Route("/logout", entrance.leave, methods=["POST"]),
            Route("/api/stream", entrance.read(self._stream), methods=["GET"]),
            Route("/api/forms", entrance.read(self._forms), methods=["GET"]),
            *(
                Route(f"/api/{name}", entrance.act(self._talking(take)), methods=["POST"])
                for name, take in (("ask", self._talk.ask), ("say", self._talk.say), ("mark", self._talk.mark))
            ),
            Mount("/static", _Static(directory=_HERE / "static")),
        ]

    async def _page(self, request: Request, session: Session) -> Response:
        view = request.url.path.strip("/")
        context = {"view": view, "user": session.user, "csrf": session.csrf}
        return self._templates.TemplateResponse(request, "console.html", context)

    async def _stream(self, request: Request, session: Session) -> Response:
        """Server-sent events: one frame a quarter of a second at most."""
        if self._open.total() >= _MOST_PAGES or self._open[session.user] >= _MOST_PAGES_EACH:
            return JSONResponse({"problem": "Too many pages of this console are open."}, 503)
        query = request.query_params
        wanted = Filter(*(query.get(name, "")[:200] for name in ("model", "version", "track", "text")))
        view = view_of(query.get("view", ""))
        frames = Frames(
            self._live, self._mailbox, session.user, view=view, wanted=wanted, model=query.get("model", "")[:200]
        )
        return EventSourceResponse(self._frames(request, session.user, frames), send_timeout=_SEND_SECONDS, ping=15)

    async def _frames(self, request: Request, user: str, frames: Frames) -> AsyncIterator[dict[str, str]]:
        self._count(user, +1)
        said_at = 0.0
        try:
            # A session that has ended (logged out, expired, another token) hears nothing more.
            while not self._closing() and self._entrance.session_of(request) is not None:
                begun = time.monotonic()
                frame = await to_thread.run_sync(frames.next)
                if frame or begun - said_at > _QUIET_SECONDS:
                    said_at = begun
                    # Returns when the connection has room: who is slow gets fewer frames.
                    yield {"event": "frame", "data": msgspec.json.encode(frame).decode()}
                await asyncio.sleep(max(0.0, begun + _BETWEEN_FRAMES - time.monotonic()))
            if not self._closing():
                yield {"event": "over", "data": "{}"}
        finally:
            self._count(user, -1)

    def _count(self, user: str, by: int) -> None:
        self._open[user] += by
        if not self._open[user]:
            del self._open[user]
        self._on_sessions(self._open.total())

    async def _forms(self, _request: Request, _session: Session) -> Response:
        """What can be asked: the models that are served, each with the form that its card makes."""
        cards = await to_thread.run_sync(self._talk.cards)
        forms = {model: form_of(card) if card else None for model, card in cards.items()}
        return JSONResponse({"models": forms, "can_ask": self._talk.can_ask})

    def _talking(self, take: Callable[[str, bytes], None]) -> Callable[[Request, Session], Awaitable[Response]]:
        """What a page posts, taken in a thread."""

        async def handler(request: Request, session: Session) -> Response:
            try:
                await to_thread.run_sync(take, session.user, await request.body())
            except NotTaken as error:
                return JSONResponse(error.body, error.status)
            except RollcastError as error:
                return JSONResponse({"problem": str(error)}, 503)
            return JSONResponse({})

        return handler


class _Static(StaticFiles):
    """Kept by browsers, and asked for again: a new release is seen at once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def make_console(
    live: Live,
    mailbox: Mailbox,
    talk: Talk,
    users: Users,
    *,
    installation: str = "local",
    hosts: Collection[str] = (),
    on_sessions: Callable[[int], None] = lambda _: None,
    closing: Callable[[], bool] = lambda: False,
) -> Starlette:
    """`hosts` are the names under which it answers, none: all; `on_sessions` is told how many pages are open;
    once `closing` says so, streams end.
    """
    console = Console(
        live,
        mailbox,
        talk,
        users,
        installation=installation,
        on_sessions=on_sessions,
        closing=closing,
    )
    return Starlette(routes=console.routes(), middleware=[Middleware(Guard, hosts=hosts)])
