"""What operators rely on."""

import os
import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.test import TestCase, override_settings

from users.models import CustomUser

MEDIA = tempfile.mkdtemp(prefix="techit-test-")


@override_settings(MEDIA_ROOT=MEDIA)
class MediaFiles(TestCase):
    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(MEDIA, ignore_errors=True)

    def setUp(self):
        user = CustomUser.objects.create(username="ada")
        user.avatar.save("ada.jpg", ContentFile(b"picture"))
        self.path = Path(user.avatar.path)

    def test_files_that_are_there_are_enough(self):
        call_command("check_media_files", stdout=open(os.devnull, "w", encoding="utf-8"))

    def test_a_file_that_is_missing_is_named(self):
        self.path.unlink()
        with self.assertRaisesMessage(CommandError, "ada.jpg is missing"):
            call_command("check_media_files")


class Health(TestCase):
    def test_a_cache_that_does_not_answer_is_no_health(self):
        with patch("operations.views.ask_cache", side_effect=OSError):
            answer = self.client.get("/health/")
        self.assertEqual((answer.status_code, answer.json()["wrong"]), (503, {"cache": "OSError"}))
        with patch("operations.views.ask_cache"):
            self.assertEqual(self.client.get("/health/").json(), {"status": "ok"})
