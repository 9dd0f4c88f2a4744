"""Logging in, and the picture of who is logged in."""

from django.contrib.auth import authenticate, login, logout
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import ensure_csrf_cookie

from techit.api import BadRequest, api, body, known


@ensure_csrf_cookie
@api("GET", "POST", "DELETE")
def session(request: HttpRequest) -> JsonResponse:
    """Says who is logged in, logs somebody in, or out."""
    if request.method == "POST":
        values = body(request, "username", "password")
        user = authenticate(request, username=values["username"], password=values["password"])
        if user is None:
            return JsonResponse({"error": "name or password is wrong"}, status=403)
        login(request, user)
    elif request.method == "DELETE":
        logout(request)
    return JsonResponse({"user": request.user.get_username() or None})


@api("POST")
@known
def avatar(request: HttpRequest) -> JsonResponse:
    """Takes the user's picture."""
    if "file" not in request.FILES:
        raise BadRequest("the form lacks file")
    request.user.avatar = request.FILES["file"]
    request.user.save()
    return JsonResponse({"url": request.user.avatar.url}, status=201)
