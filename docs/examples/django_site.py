"""
A Django site in one file: the admin, an upload, and a response that is made
while it is sent.

    python django_site.py migrate
    python django_site.py createsuperuser
    twist fastcgi --port unix:/run/app.sock --wsgi django_site:application
"""

import hashlib
import secrets
import sys
from pathlib import Path
from threading import Condition

import django
from django.conf import settings

HERE = Path.cwd()

settings.configure(
    # A site that is to stay has a key that stays.
    SECRET_KEY=secrets.token_hex(),
    ALLOWED_HOSTS=["127.0.0.1", "localhost", "www.example.com"],
    # Without TLS in the web server, leave out these two.
    CSRF_COOKIE_SECURE=True,
    SESSION_COOKIE_SECURE=True,
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
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
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": HERE / "django.sqlite3",
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    STATIC_URL="static/",
)
django.setup()

# What follows needs Django to be set up.
from django.contrib import admin  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse, StreamingHttpResponse  # noqa: E402
from django.middleware.csrf import get_token  # noqa: E402
from django.urls import path, reverse  # noqa: E402

FORM = """\
<form action="{action}" method="post" enctype="multipart/form-data">
<input type="hidden" name="csrfmiddlewaretoken" value="{token}">
<input type="file" name="file"> <input type="submit">
</form>
"""

said = []
news = Condition()


def upload(request):
    """
    Tell what was uploaded.
    """
    if request.method == "GET":
        return HttpResponse(
            FORM.format(action=reverse("upload"), token=get_token(request))
        )
    digest = hashlib.sha256()
    for piece in request.FILES["file"].chunks():
        digest.update(piece)
    return HttpResponse(digest.hexdigest(), content_type="text/plain")


def say(request, word):
    """
    Say a word to all who listen.
    """
    with news:
        said.append(f"{word}\n")
        news.notify_all()
    return HttpResponse(status=204)


def listen(request):
    """
    Tell words while they are said.  This holds a thread meanwhile.
    """

    def lines():
        heard = len(said)
        yield "listening\n"
        words = []
        while "end\n" not in words:
            with news:
                if len(said) == heard:
                    # Now and then nothing is yielded, to notice who has left.
                    news.wait(10)
                words = said[heard:]
            heard += len(words)
            yield "".join(words)

    response = StreamingHttpResponse(lines(), content_type="text/plain")
    # nginx keeps back nothing of this one.
    response["X-Accel-Buffering"] = "no"
    return response


urlpatterns = [
    path("admin/", admin.site.urls),
    path("upload", upload, name="upload"),
    path("listen", listen),
    path("say/<word>", say),
]

application = get_wsgi_application()

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
