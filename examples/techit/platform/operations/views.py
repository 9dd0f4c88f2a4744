"""Whether the platform works, for whoever watches it."""

import uuid

from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, JsonResponse


def health(request: HttpRequest) -> JsonResponse:
    """Asks the database and the cache; 503 if one of them does not answer."""
    wrong = {}
    for name, ask in [("database", ask_database), ("cache", ask_cache)]:
        try:
            ask()
        except Exception as error:  # whatever it is, whoever asks has to hear of it
            wrong[name] = type(error).__name__
    if wrong:
        return JsonResponse({"status": "broken", "wrong": wrong}, status=503)
    return JsonResponse({"status": "ok"})


def ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM users_customuser")


def ask_cache() -> None:
    word = uuid.uuid4().hex
    cache.set("health", word, timeout=60)
    if cache.get("health") is None:
        raise ValueError("the cache forgets")
