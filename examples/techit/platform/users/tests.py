"""Logging in and pictures."""

import shutil
import tempfile

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import TestCase, override_settings

from .models import CustomUser

MEDIA = tempfile.mkdtemp(prefix="techit-test-")


@override_settings(
    MEDIA_ROOT=MEDIA,
    SESSION_ENGINE="django.contrib.sessions.backends.db",
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
)
class Users(TestCase):
    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(MEDIA, ignore_errors=True)

    def setUp(self):
        CustomUser.objects.create_user("ada", password="right")

    def log_in(self, password):
        values = {"username": "ada", "password": password}
        return self.client.post("/session/", values, content_type="application/json")

    def test_only_the_right_password_opens(self):
        self.assertEqual(self.log_in("wrong").status_code, 403)
        self.assertIsNone(self.client.get("/session/").json()["user"])
        self.assertEqual(self.log_in("right").json()["user"], "ada")

    def test_a_picture_is_kept(self):
        picture = SimpleUploadedFile("me.jpg", b"\xff\xd8picture")
        self.assertEqual(self.client.post("/avatar/", {"file": picture}).status_code, 401)
        self.log_in("right")
        picture.seek(0)
        answer = self.client.post("/avatar/", {"file": picture})
        self.assertEqual(answer.status_code, 201, answer.content)
        with CustomUser.objects.get(username="ada").avatar.open() as kept:
            self.assertEqual(kept.read(), b"\xff\xd8picture")
