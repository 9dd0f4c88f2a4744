"""The first users, so that there is somebody who orders, and somebody who looks whether ordering works."""

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.management.base import BaseCommand

from orders.models import Order
from tickets.models import Ticket
from users.models import CustomUser

PROBE = "probe"


class Command(BaseCommand):
    help = "Makes some users with pictures, orders and tickets, and the user as whom `probe` logs in"

    def add_arguments(self, parser):
        parser.add_argument("--users", type=int, default=40)

    def handle(self, *arguments, users: int, **options):
        probe, _ = CustomUser.objects.get_or_create(username=PROBE, email="probe@techit.example")
        probe.set_password(settings.PROBE_PASSWORD)
        probe.save()
        for number in range(1, users + 1):
            make(number)
        self.stdout.write(f"{CustomUser.objects.count()} users")


def make(number: int) -> None:
    name = f"customer-{number}"
    user, is_new = CustomUser.objects.get_or_create(username=name, email=f"{name}@example.org")
    if not is_new:
        return
    picture = b"\xff\xd8\xff\xe0" + bytes((number * factor) % 256 for factor in range(4000))
    user.avatar.save(f"{name}.jpg", ContentFile(picture + b"\xff\xd9"))
    Order.objects.create(user=user, item=f"Service {number}", total=number, state=Order.CONFIRMED)
    if number % 4 == 0:
        Ticket.objects.create(
            user=user,
            subject=f"Question {number}",
            attachment=ContentFile(b"%PDF-1.7\n" + picture, name=f"scan-{number}.pdf"),
        )
