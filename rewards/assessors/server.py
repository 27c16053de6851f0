"""The server of assessors: what to answer next, answers, and an overview, as JSON over HTTP.

A token comes in the header ``Authorization: Bearer``, which no log has; the links that are printed
hold it behind a ``#``, which a browser does not send. Endpoints are plain functions, which FastAPI
runs in threads; the store is what they share.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from .access import digest, is_token
from .headers import Guard
from .limits import BodyLimit, Buckets
from .pages.drawing import drawn
from .pages.overview import overview
from .pages.pages import Page, load_pages
from .ratings import write_ratings
from .replies import JSON, refusal
from .schema import StoreError
from .store import Assessor, Assignment, Question, Refused, Store

_log = logging.getLogger(__name__)
_BURST_SECONDS = 3
_MEDIA = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}
router = APIRouter()


@dataclass(frozen=True)
class _Assessment:
    """What the endpoints of one application share."""

    store: Store
    question: Question
    owner: str
    """The digest of the token of whoever runs the assessment."""
    limits: Buckets


class Answer(BaseModel):
    """The body of ``POST /api/rate``."""

    model_config = ConfigDict(strict=True, extra="forbid")
    assignment: int = Field(ge=1, le=2**31 - 1)
    answer: str = Field(max_length=16)
    note: str = Field(default="", max_length=2000)
    key: str = Field(default="", max_length=64, pattern=r"^[A-Za-z0-9_-]*$")


class Nothing(BaseModel):
    """The body of ``POST /api/undo``."""

    model_config = ConfigDict(extra="forbid")


def make_app(
    store: Store,
    question_id: int,
    *,
    owner_token: str,
    host: str = "127.0.0.1",
    requests_per_second: float = 20.0,
) -> FastAPI:
    """The application that asks one question.

    Args:
        store: where items come from and ratings go.
        question_id: what is asked.
        owner_token: opens the overview and the export.
        host: the address that is served; a request for another one is refused.
        requests_per_second: how often an assessor may ask, and an address without a token.

    Raises:
        ValueError: no such question.
    """
    app = FastAPI(title="tokengym", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.assessment = _Assessment(
        store,
        store.question_of(question_id),
        digest(owner_token),
        Buckets(requests_per_second, _BURST_SECONDS * requests_per_second),
    )
    app.include_router(router)
    for path, page in load_pages().items():
        app.add_api_route(path, _sends(page), methods=["GET"])
    app.add_middleware(BodyLimit)
    app.add_middleware(Guard, host=host)  # added last, it is the outermost
    for error in (RequestValidationError, HTTPException, Refused, StoreError):
        app.add_exception_handler(error, _refusal)
    return app


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _here(request: Request) -> _Assessment:
    found: _Assessment = request.app.state.assessment
    return found


def _limit(here: _Assessment, who: object) -> None:
    """Raises HTTPException when they ask too often."""
    if seconds := here.limits.wait(who):
        raise HTTPException(
            429,
            f"too many requests; wait {seconds} s and send this again",
            {"retry-after": str(seconds)},
        )


def _stranger(request: Request) -> HTTPException:
    _limit(_here(request), request.client and request.client.host)
    return HTTPException(
        401,
        "no such token; open the whole link that you were given, or ask for another one",
        {"www-authenticate": "Bearer"},
    )


def _assessor(request: Request) -> Assessor:
    here = _here(request)
    found = here.store.assessor_of(_token(request))
    if found is None:
        raise _stranger(request)
    _limit(here, found.id)
    return found


def _owner(request: Request) -> None:
    here = _here(request)
    if not is_token(_token(request), here.owner):
        raise _stranger(request)
    _limit(here, "owner")


Here = Annotated[_Assessment, Depends(_here)]
Known = Annotated[Assessor, Depends(_assessor)]


@router.get("/api/next")
def send_next(here: Here, assessor: Known) -> Response:
    """What this assessor is to answer, and how far they are."""
    return _asking(here, assessor, here.store.lease(here.question.id, assessor.id))


@router.post("/api/rate")
def rate(here: Here, assessor: Known, body: Answer) -> Response:
    """Keep an answer; what is next."""
    try:
        here.store.rate(body.assignment, assessor.id, body.answer, body.note, body.key)
    except Refused:
        raise
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
    return send_next(here, assessor)


@router.post("/api/undo")
def undo(here: Here, assessor: Known, body: Nothing) -> Response:
    """Withdraw the last answer, which is to be given again; what is next where there is none."""
    found = here.store.undo(here.question.id, assessor.id)
    return send_next(here, assessor) if found is None else _asking(here, assessor, found)


@router.get("/api/overview", dependencies=[Depends(_owner)])
def send_overview(here: Here) -> Response:
    """Figures for whoever runs the assessment."""
    return JSON(overview(here.store, here.question.id))


@router.get("/api/export", dependencies=[Depends(_owner)])
def export(here: Here, format: Literal["csv", "jsonl"] = "csv") -> Response:
    """Every rating, as a file that ``RatingsFile`` reads."""
    text = write_ratings(here.store.ratings(here.question.id), format)
    named = {"content-disposition": f"attachment; filename=ratings.{format}"}
    return Response(text, media_type=_MEDIA[format], headers=named)


def _asking(here: _Assessment, assessor: Assessor, found: Assignment | None) -> Response:
    asked, progress = here.question, here.store.progress(here.question.id, assessor.id)
    left = None if found is None else drawn(found.left, asked.domain)
    right = None if found is None or found.right is None else drawn(found.right, asked.domain)
    return JSON(
        {
            "question": {"text": asked.text, "form": asked.form, "domain": asked.domain},
            "assignment": None if found is None else found.id,
            "left": left,
            "right": right,
            "progress": {"answered": progress.answered, "waiting": progress.waiting},
        }
    )


def _sends(page: Page) -> Callable[[], Awaitable[Response]]:
    async def send() -> Response:
        return Response(page.body, media_type=page.media_type)

    return send


def _refusal(_: Request, error: Exception) -> Response:
    match error:
        case RequestValidationError():
            found = error.errors()[0]
            where = ".".join(map(str, found["loc"]))
            return refusal(422, f"{where[:80]}: {found['msg']}; reload the page, and answer again")
        case HTTPException():
            said = _SAID.get(error.status_code, error.detail)
            return refusal(error.status_code, said, error.headers)
        case Refused():
            return refusal(409, str(error))
    _log.error("%s", error)
    return refusal(503, "the ratings cannot be kept at the moment; wait, and send this again")


_SAID = {  # where the framework's own words do not say what to do
    400: "the body cannot be read; expected one object of JSON, in UTF-8. Reload the page",
    404: "there is nothing here; open the link as it was printed",
    405: "this address does not take that method; open the link as it was printed",
}
