"""Somebody who uses the platform as customers do: over HTTP, through the web server."""

import http.cookiejar
import json
import urllib.request

PATIENCE_SECONDS = 20


class Visitor:
    """A customer with cookies."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.cookies = http.cookiejar.CookieJar()
        # No proxy of the surroundings stands between the platform and itself.
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.cookies)
        )

    def ask(self, path: str, values: dict | None = None) -> dict:
        """Gets a document, or posts one; what is refused is raised."""
        document = None if values is None else json.dumps(values).encode()
        request = urllib.request.Request(self.address + path, document)
        request.add_header("Content-Type", "application/json")
        tokens = [cookie.value for cookie in self.cookies if cookie.name == "csrftoken"]
        if tokens:
            request.add_header("X-CSRFToken", tokens[0])
        with self.opener.open(request, timeout=PATIENCE_SECONDS) as answer:
            return json.load(answer)

    def log_in(self, username: str, password: str) -> str:
        """Logs in; returns who the platform says it is."""
        self.ask("/session/")
        return self.ask("/session/", {"username": username, "password": password})["user"]
