"""Whether every file is there that the database names, and can be read by the web server."""

import stat
from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from tickets.models import Ticket
from users.models import CustomUser

NAMED_MAX = 5


class Command(BaseCommand):
    help = "Checks that every uploaded file that the database names is there and readable"

    def handle(self, *arguments, **options):
        names = [*named(CustomUser, "avatar"), *named(Ticket, "attachment")]
        wrong = [(name, why) for name in names if (why := trouble(Path(settings.MEDIA_ROOT), name))]
        if wrong:
            first = "; ".join(f"{name} {why}" for name, why in wrong[:NAMED_MAX])
            raise CommandError(f"{len(wrong)} of {len(names)} files: {first}")
        self.stdout.write(f"all {len(names)} files are there")


def named(model, field: str) -> list[str]:
    return list(model.objects.exclude(**{field: ""}).values_list(field, flat=True))


def trouble(root: Path, name: str) -> str | None:
    """Says what is wrong with a file. The web server is another user, who reads what everybody may."""
    path = root / name
    try:
        found = path.stat()
    except FileNotFoundError:
        return "is missing"
    if not stat.S_ISREG(found.st_mode):
        return "is no file"
    if not found.st_mode & stat.S_IROTH and found.st_uid != root.stat().st_uid:
        return "cannot be read by the web server"
    return None
