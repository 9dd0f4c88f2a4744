"""Opening tickets."""

from django.http import HttpRequest, JsonResponse

from techit.api import BadRequest, api, known

from .models import Ticket


@api("GET", "POST")
@known
def tickets(request: HttpRequest) -> JsonResponse:
    """Lists the user's tickets, or opens one."""
    if request.method == "GET":
        own = Ticket.objects.filter(user=request.user).order_by("pk")
        return JsonResponse({"tickets": [ticket.subject for ticket in own]})
    subject = request.POST.get("subject", "").strip()
    if not subject:
        raise BadRequest("the form lacks subject")
    ticket = Ticket.objects.create(
        user=request.user,
        subject=subject[:200],
        text=request.POST.get("text", ""),
        attachment=request.FILES.get("file", ""),
    )
    return JsonResponse({"number": ticket.pk}, status=201)
