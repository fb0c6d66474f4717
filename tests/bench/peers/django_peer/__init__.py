"""A view in Django with its ORM, under gunicorn with threads and connections that stay open.

`python -m tests.bench.peers.django_peer --config FILE --port N --workers K`
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from django.core.handlers.wsgi import WSGIHandler

URL = "HOOKLEDGER_BENCH_PEER_URL"  # the environment hands it to the worker processes


def database(url: str) -> dict[str, Any]:
    """Return Django's settings for a PostgreSQL URL, with connections that are kept."""
    parts = urlsplit(url)
    told = parse_qs(parts.query)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.removeprefix("/"),
        "USER": parts.username or "",
        "PASSWORD": parts.password or "",
        "HOST": told["host"][0] if "host" in told else parts.hostname or "",
        "PORT": parts.port or "",
        "CONN_MAX_AGE": None,
    }


def configure(url: str) -> None:
    """Set Django up. Models can be made from then on."""
    import django
    from django.conf import settings

    settings.configure(
        DATABASES={"default": database(url)},
        INSTALLED_APPS=["tests.bench.peers.django_peer"],
        ROOT_URLCONF="tests.bench.peers.django_peer.views",
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],  # of the usual seven only what sets Content-Length
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
        LOGGING_CONFIG=None,
    )
    django.setup()


def app() -> WSGIHandler:
    """Return the application; each worker process calls this for itself."""
    configure(os.environ[URL])
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()
