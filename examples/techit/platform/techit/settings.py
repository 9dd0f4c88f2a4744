"""Django's settings; what differs from place to place comes from the `.env`."""

from pathlib import Path

from .env import Env

env = Env()

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = env["SECRET_KEY"]
DEBUG = env.get("DEBUG", "False") == "True"
ALLOWED_HOSTS = env.get("ALLOWED_HOSTS", "localhost,127.0.0.1,testserver").split(",")
PUBLIC_URL = env["PUBLIC_URL"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "users",
    "orders",
    "tickets",
    "operations",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "techit.urls"
WSGI_APPLICATION = "techit.wsgi.application"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": env["DATABASE_NAME"],
        "USER": env["DATABASE_USER"],
        "PASSWORD": env.get("DATABASE_PASSWORD"),
        "HOST": env["DATABASE_HOST"],
        "PORT": env.get("DATABASE_PORT"),
        # The tests' own database is made from the one that nobody else is connected to.
        "TEST": {"TEMPLATE": "template0"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "users.CustomUser"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"unix://{env['REDIS_SOCKET']}?db=1",
    }
}
CELERY_BROKER_URL = f"redis+socket://{env['REDIS_SOCKET']}?virtual_host=0"
CELERY_TASK_IGNORE_RESULT = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True

STATIC_URL = "/static/"
STATIC_ROOT = env["STATIC_ROOT"]
MEDIA_URL = "/media/"
MEDIA_ROOT = env["MEDIA_ROOT"]
FILE_UPLOAD_PERMISSIONS = 0o644
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o755

# Services of others. A drill points them to sinks that see what arrives.
EMAIL_HOST = env["EMAIL_HOST"]
EMAIL_PORT = int(env["EMAIL_PORT"])
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = "service@techit.example"
WEBHOOK_URL = env["WEBHOOK_URL"]
ARCHIVE_URL = env["ARCHIVE_URL"]
MONITORING_URL = env["MONITORING_URL"]
PROBE_PASSWORD = env["PROBE_PASSWORD"]

# nginx is the only one who speaks to gunicorn.
USE_X_FORWARDED_HOST = True
USE_TZ = True
