"""What the views have in common: JSON in, JSON out, and a user who is known."""

import functools
import json

from django.http import HttpRequest, HttpResponse, JsonResponse


class BadRequest(Exception):
    """What came in is not what is wanted."""


def api(*methods: str):
    """Lets a view answer these methods, with what it raises as a refusal."""

    def decorate(view):
        @functools.wraps(view)
        def answered(request: HttpRequest, *arguments, **named) -> HttpResponse:
            if request.method not in methods:
                return JsonResponse({"error": "not allowed"}, status=405)
            try:
                return view(request, *arguments, **named)
            except BadRequest as refused:
                return JsonResponse({"error": str(refused)}, status=400)

        return answered

    return decorate


def known(view):
    """Asks who it is before anything else."""

    @functools.wraps(view)
    def answered(request: HttpRequest, *arguments, **named) -> HttpResponse:
        if not request.user.is_authenticated:
            return JsonResponse({"error": "log in first"}, status=401)
        return view(request, *arguments, **named)

    return answered


def body(request: HttpRequest, *fields: str) -> dict:
    """Reads the body, which has to have these fields."""
    try:
        values = json.loads(request.body)
    except ValueError:
        raise BadRequest("the body is not JSON") from None
    missing = [field for field in fields if not isinstance(values, dict) or field not in values]
    if missing:
        raise BadRequest(f"the body lacks {', '.join(missing)}")
    return values
