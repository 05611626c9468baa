"""Errors as answers: four parts as on the command line, and a number that HTTP knows."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from crafts.core.config import describe_allowed
from crafts.core.errors import CraftsError, RetryError
from crafts.core.parsing import shorten


class MissingError(CraftsError):
    """What is asked for is not there, or not of who asks."""

    def __init__(self, what: str, came: object) -> None:
        super().__init__(
            what,
            came=f"{came}, which is not there",
            allowed=f"a {what} of yours",
            do="Ask for the list first.",
        )


class QueueFullError(RetryError):
    """Too many jobs wait.

    Args:
        most: that may wait.
        seconds: after which trying again may help.
    """

    def __init__(self, most: int, seconds: int) -> None:
        self.seconds = seconds
        super().__init__(
            "queue",
            came=f"{most} jobs that wait",
            allowed="fewer",
            do=f"Try again in {seconds} seconds.",
        )


def answer(
    status: int, where: str, came: str, allowed: str, do: str, **headers: str
) -> JSONResponse:
    """An error as JSON."""
    parts = {"where": where, "came": came, "allowed": allowed, "do": do}
    plain = {name: text.encode("utf-8", "replace").decode() for name, text in parts.items()}
    return JSONResponse(plain, status, {name.replace("_", "-"): v for name, v in headers.items()})


def install(app: FastAPI) -> None:
    """Let every error of a route become such an answer."""

    @app.exception_handler(CraftsError)
    async def of_ours(request: Request, error: CraftsError) -> JSONResponse:
        more: dict[str, str] = {}
        status = 422
        if isinstance(error, MissingError):
            status = 404
        elif isinstance(error, QueueFullError):
            status, more = 429, {"Retry_After": str(error.seconds)}
        elif isinstance(error, RetryError):
            status, more = 503, {"Retry_After": "30"}
        return answer(status, error.where, error.came, error.allowed, error.do, **more)

    @app.exception_handler(RequestValidationError)
    async def of_fields(request: Request, error: RequestValidationError) -> JSONResponse:
        fault: dict[str, Any] = dict(error.errors()[0])
        where = ".".join(str(part) for part in fault["loc"])
        came = shorten(fault.get("input"))
        if fault["type"] == "json_invalid":
            came = "no JSON"
        extra = fault["type"] == "extra_forbidden"
        allowed = "a known field" if extra else describe_allowed(fault)
        return answer(422, where, came, allowed, "See /api/v1/openapi.json.")

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        method = request.method if request.method.isalpha() else "a request"
        allowed = {404: "an address of /api/v1", 405: "another method"}.get(
            error.status_code, "a request that can be read"
        )
        shown = shorten(request.url.path)[1:-1]
        came = f"{method}: {error.detail}"
        more = (
            {"Allow": (error.headers or {})["allow"]}
            if error.status_code == 405 and (error.headers or {}).get("allow")
            else {}
        )
        return answer(error.status_code, shown, came, allowed, "See /api/v1/openapi.json.", **more)
