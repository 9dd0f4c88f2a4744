"""Who uses the platform."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class CustomUser(AbstractUser):
    """A customer or somebody of the staff, maybe with a picture."""

    avatar = models.FileField(upload_to="avatars/", blank=True)
