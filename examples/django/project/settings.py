"""The settings of the example: Django's own, and at the end what it needs to know of Bucketline."""

import os
import secrets
from pathlib import Path
from typing import Any

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("DATA_DIR", BASE_DIR / "var"))
DATA_DIR.mkdir(parents=True, exist_ok=True)

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or secrets.token_urlsafe(50)
DEBUG = os.environ.get("DJANGO_DEBUG") == "1"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]

INSTALLED_APPS = ["django.contrib.staticfiles", "media"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "db.sqlite3",
        # A transaction takes the lock when it begins: two webhooks wait for each other instead of failing.
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"

# -- Bucketline -------------------------------------------------------------------------------------------------------

# Where Django reaches it, and its key, which no page ever sees.
BUCKETLINE_URL = os.environ.get("BUCKETLINE_URL", "http://127.0.0.1:8000")
BUCKETLINE_API_KEY = os.environ.get("BUCKETLINE_API_KEY")
# Where browsers reach it; behind a proxy that is another address.
PAGE_BUCKETLINE_URL = os.environ.get("PAGE_BUCKETLINE_URL", BUCKETLINE_URL)
DESTINATIONS = os.environ.get("DESTINATIONS", "media").split(",")
MAX_SIZE = 5 << 30

# Where Bucketline reaches Django, and the secret by which Django knows that it was Bucketline.
SITE_URL = os.environ.get("SITE_URL", "http://127.0.0.1:8080")
WEBHOOK_SECRET = os.environ.get("WEBHOOK_SECRET", "")

# Django writes uploads to a file instead of holding them in memory, and writes them where Bucketline may read them
# (BUCKETLINE_SOURCE_ROOTS): handing one over by its path is then a rename, and no byte is copied.
HANDOVER_DIR = DATA_DIR / "handover"
HANDOVER_DIR.mkdir(exist_ok=True)
FILE_UPLOAD_TEMP_DIR = HANDOVER_DIR
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]

# -- only for the view of before (media/before.py) --------------------------------------------------------------------

AWS_STORAGE_BUCKET_NAME = os.environ.get("AWS_STORAGE_BUCKET_NAME", "")
AWS_S3_ENDPOINT_URL = os.environ.get("AWS_S3_ENDPOINT_URL")
