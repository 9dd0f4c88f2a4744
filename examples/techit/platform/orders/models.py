"""What customers order and pay."""

from django.conf import settings
from django.db import models


class Order(models.Model):
    """Work that a customer wants."""

    PLACED, CONFIRMED, PAID = "placed", "confirmed", "paid"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    item = models.CharField(max_length=200)
    total = models.DecimalField(max_digits=12, decimal_places=2)
    state = models.CharField(max_length=20, default=PLACED)
    placed_at = models.DateTimeField(auto_now_add=True)


class Payment(models.Model):
    """Money that came in for an order."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="payments")
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    reference = models.UUIDField(unique=True)
    paid_at = models.DateTimeField(auto_now_add=True)
