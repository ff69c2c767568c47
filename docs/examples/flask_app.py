"""
A Flask application.

    twist fastcgi --port unix:/run/app.sock --wsgi flask_app:app
"""

import hashlib
import secrets

from flask import Flask, redirect, request, session, url_for

app = Flask(__name__)
# An application that is to stay has a key that stays.
app.secret_key = secrets.token_bytes()


@app.get("/")
def index():
    """
    Greet who has logged in, to the web server or here.
    """
    name = request.remote_user or session.get("name", "stranger")
    return {"hello": name, "secure": request.is_secure, "client": request.remote_addr}


@app.post("/login")
def login():
    """
    Remember a name.
    """
    session["name"] = request.form["name"]
    return redirect(url_for("index"))


@app.post("/upload")
def upload():
    """
    Tell what was uploaded.
    """
    digest = hashlib.sha256()
    stream = request.files["file"].stream
    while piece := stream.read(65536):
        digest.update(piece)
    return digest.hexdigest()


@app.put("/raw")
def raw():
    """
    Tell what was uploaded without a form.
    """
    return hashlib.sha256(request.get_data()).hexdigest()


@app.get("/numbers/<int:count>")
def numbers(count):
    """
    Make a long response piece by piece.
    """

    def lines():
        for first in range(0, count, 1000):
            yield "".join(f"{n}\n" for n in range(first, min(first + 1000, count)))

    return lines(), {"Content-Type": "text/plain"}
