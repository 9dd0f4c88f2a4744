"""Whether what customers do works, asked from outside: the points of the plan's check-list.

`login` and `orders` go through the web server; `orders` waits until the worker has confirmed what was ordered.
`monitoring` tells those who watch the platform that it lives.
"""

import time

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from operations.visitor import Visitor
from orders.models import Order
from orders.tasks import send

from .seed import PROBE

CONFIRMED_WITHIN_SECONDS = 20
LOOK_EVERY_SECONDS = 0.1


class Command(BaseCommand):
    help = "Tries what customers do, from outside"

    def add_arguments(self, parser):
        parser.add_argument("what", choices=["login", "orders", "monitoring"])

    def handle(self, *arguments, what: str, **options):
        self.stdout.write(getattr(self, what)())

    def login(self) -> str:
        self.visitor()
        return f"{PROBE} logs in"

    def orders(self) -> str:
        visitor = self.visitor()
        number = visitor.ask("/orders/", {"item": "A rehearsal", "total": "1.00"})["number"]
        end = time.monotonic() + CONFIRMED_WITHIN_SECONDS
        while visitor.ask(f"/orders/{number}/")["state"] == Order.PLACED:
            if time.monotonic() > end:
                raise CommandError(f"nobody confirms order {number}")
            time.sleep(LOOK_EVERY_SECONDS)
        paid = visitor.ask(f"/orders/{number}/payments/", {"amount": "1.00"})
        if paid["state"] != Order.PAID:
            raise CommandError(f"order {number} is paid, and is {paid['state']}")
        return f"order {number} is placed, confirmed and paid"

    def monitoring(self) -> str:
        send("POST", settings.MONITORING_URL, {"platform": settings.PUBLIC_URL, "status": "ok"})
        return "those who watch have heard of it"

    def visitor(self) -> Visitor:
        visitor = Visitor(settings.PUBLIC_URL)
        if visitor.log_in(PROBE, settings.PROBE_PASSWORD) != PROBE:
            raise CommandError("somebody else is logged in")
        return visitor
