"""Placing orders, looking at them, paying them."""

import uuid
from decimal import Decimal, InvalidOperation

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404

from techit.api import BadRequest, api, body, known

from .models import Order, Payment
from .tasks import confirm


def money(text) -> Decimal:
    try:
        amount = Decimal(str(text))
    except InvalidOperation:
        raise BadRequest(f"`{text}` is no amount") from None
    if not amount.is_finite() or amount <= 0:
        raise BadRequest("an amount is more than nothing")
    return amount


def shown(order: Order) -> dict:
    paid = [str(payment.amount) for payment in order.payments.all()]
    return {
        "number": order.pk,
        "item": order.item,
        "total": str(order.total),
        "state": order.state,
        "paid": paid,
    }


@api("GET", "POST")
@known
def orders(request: HttpRequest) -> JsonResponse:
    """Lists the user's orders, or places one."""
    if request.method == "GET":
        own = Order.objects.filter(user=request.user).prefetch_related("payments").order_by("pk")
        return JsonResponse({"orders": [shown(order) for order in own]})
    values = body(request, "item", "total")
    with transaction.atomic():
        order = Order.objects.create(
            user=request.user, item=str(values["item"])[:200], total=money(values["total"])
        )
        transaction.on_commit(lambda: confirm.delay(order.pk))
    return JsonResponse(shown(order), status=201)


@api("GET")
@known
def order(request: HttpRequest, number: int) -> JsonResponse:
    """Shows one of the user's orders."""
    return JsonResponse(shown(get_object_or_404(Order, pk=number, user=request.user)))


@api("POST")
@known
def payments(request: HttpRequest, number: int) -> JsonResponse:
    """Takes a payment."""
    amount = money(body(request, "amount")["amount"])
    with transaction.atomic():
        locked = Order.objects.select_for_update()
        order = get_object_or_404(locked, pk=number, user=request.user)
        Payment.objects.create(order=order, amount=amount, reference=uuid.uuid4())
        if sum(payment.amount for payment in order.payments.all()) >= order.total:
            order.state = Order.PAID
            order.save()
    return JsonResponse(shown(order), status=201)
