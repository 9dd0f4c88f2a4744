"""Orders and payments."""

from unittest.mock import patch

from django.core import mail
from django.test import TestCase, override_settings

from users.models import CustomUser

from .models import Order
from .tasks import confirm


class Orders(TestCase):
    def setUp(self):
        self.ada = CustomUser.objects.create(username="ada", email="ada@example.org")
        self.client.force_login(self.ada)

    def post(self, path, values):
        return self.client.post(path, values, content_type="application/json")

    def place(self, total="120.50"):
        with patch("orders.views.confirm.delay"), self.captureOnCommitCallbacks(execute=True):
            return self.post("/orders/", {"item": "A new server", "total": total})

    def test_an_order_is_placed_and_seen_by_its_customer_alone(self):
        number = self.place().json()["number"]
        self.assertEqual(self.client.get(f"/orders/{number}/").json()["state"], "placed")
        self.client.force_login(CustomUser.objects.create(username="bob"))
        self.assertEqual(self.client.get(f"/orders/{number}/").status_code, 404)
        self.assertEqual(self.client.get("/orders/").json()["orders"], [])

    def test_what_is_no_amount_is_refused(self):
        for total in ["-1", "0", "much", "NaN"]:
            self.assertEqual(self.place(total).status_code, 400, total)
        self.assertEqual(self.post("/orders/", {"item": "x"}).status_code, 400)
        self.assertEqual(Order.objects.count(), 0)

    def test_an_order_is_paid_once_all_of_it_came_in(self):
        number = self.place().json()["number"]
        path = f"/orders/{number}/payments/"
        self.assertEqual(self.post(path, {"amount": "100"}).json()["state"], "placed")
        self.assertEqual(self.post(path, {"amount": "20.50"}).json()["state"], "paid")

    @override_settings(WEBHOOK_URL="http://hook.test/", ARCHIVE_URL="http://archive.test")
    def test_who_has_to_hears_of_an_order(self):
        number = self.place().json()["number"]
        with patch("orders.tasks.send") as send:
            confirm(number)
        told = [(call.args[0], call.args[1]) for call in send.call_args_list]
        paper = f"http://archive.test/orders/{number}.json"
        self.assertEqual(told, [("PUT", paper), ("POST", "http://hook.test/")])
        self.assertEqual(mail.outbox[0].to, ["ada@example.org"])
        self.assertEqual(Order.objects.get(pk=number).state, Order.CONFIRMED)
