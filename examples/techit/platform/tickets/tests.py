"""Tickets."""

from django.test import TestCase

from users.models import CustomUser


class Tickets(TestCase):
    def test_a_ticket_needs_somebody_and_a_subject(self):
        self.assertEqual(self.client.post("/tickets/", {"subject": "Help"}).status_code, 401)
        self.client.force_login(CustomUser.objects.create(username="ada"))
        self.assertEqual(self.client.post("/tickets/", {"subject": " "}).status_code, 400)
        self.assertEqual(self.client.post("/tickets/", {"subject": "Help"}).status_code, 201)
        self.assertEqual(self.client.get("/tickets/").json()["tickets"], ["Help"])
