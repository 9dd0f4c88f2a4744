"""What customers ask."""

from django.conf import settings
from django.db import models


class Ticket(models.Model):
    """A question, maybe with a file."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    subject = models.CharField(max_length=200)
    text = models.TextField(blank=True)
    attachment = models.FileField(upload_to="tickets/", blank=True)
    opened_at = models.DateTimeField(auto_now_add=True)
