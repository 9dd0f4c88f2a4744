"""The worker, which does what a request need not wait for."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "techit.settings")

app = Celery("techit")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
