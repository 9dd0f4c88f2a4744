"""Customers who order and pay, over HTTP and through the web server, several at a time."""

from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.core.management.base import BaseCommand

from operations.visitor import Visitor

from .seed import PROBE

AT_A_TIME = 4


class Command(BaseCommand):
    help = "Places orders as customers do, and pays them"

    def add_arguments(self, parser):
        parser.add_argument("orders", type=int)

    def handle(self, *arguments, orders: int, **options):
        shares = [range(first, orders, AT_A_TIME) for first in range(AT_A_TIME)]
        with ThreadPoolExecutor(AT_A_TIME) as customers:
            list(customers.map(shop, shares))
        self.stdout.write(f"{orders} orders are placed and paid")


def shop(numbers: range) -> None:
    visitor = Visitor(settings.PUBLIC_URL)
    visitor.log_in(PROBE, settings.PROBE_PASSWORD)
    for number in numbers:
        total = f"{number + 1}.00"
        order = visitor.ask("/orders/", {"item": f"Service {number + 1}", "total": total})
        visitor.ask(f"/orders/{order['number']}/payments/", {"amount": total})
