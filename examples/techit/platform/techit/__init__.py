"""The Tech-IT platform: users, orders and payments, tickets."""

from .celery import app as celery_app

__all__ = ["celery_app"]
