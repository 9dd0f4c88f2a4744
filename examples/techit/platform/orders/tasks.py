"""What becomes of an order once it is placed: done by the worker, at services of others."""

import json
import urllib.request

from celery import shared_task
from django.conf import settings
from django.core.mail import send_mail

from .models import Order

PATIENCE_SECONDS = 10


def send(method: str, url: str, document: dict) -> None:
    """Sends a document to somebody else's service, who has to take it."""
    request = urllib.request.Request(url, json.dumps(document).encode(), method=method)
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request, timeout=PATIENCE_SECONDS).close()


@shared_task
def confirm(number: int) -> None:
    """Confirms an order: the customer gets a mail, the workshop hears of it, the archive gets the paper."""
    order = Order.objects.select_related("user").get(pk=number)
    document = {"order": order.pk, "item": order.item, "total": str(order.total)}
    send("PUT", f"{settings.ARCHIVE_URL}/orders/{order.pk}.json", document)
    send("POST", settings.WEBHOOK_URL, {"event": "order.confirmed", **document})
    if order.user.email:
        send_mail(f"Your order {order.pk}", f"We begin with: {order.item}", None, [order.user.email])
    Order.objects.filter(pk=number, state=Order.PLACED).update(state=Order.CONFIRMED)
