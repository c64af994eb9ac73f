"""An example service as a process of its own, and plain HTTP to it."""

import http.client
import json
import os
import pathlib
import queue
import signal
import subprocess
import tempfile
import threading
import unittest
import urllib.parse

# Where the examples were built; the runner says.
EXAMPLES = None
# Longer than a busy machine may take to start, to answer or to stop.
PATIENCE = 300


def isolate():
    """No proxy, no configuration of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith("RICLOUD_") or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ["HOME"] = tempfile.gettempdir() + "/nobody"
    os.environ["NO_PROXY"] = "*"


class Answer:
    """A response: status, headers by name in lower case, the body's bytes."""

    def __init__(self, response):
        self.status = response.status
        self.headers = {}
        for name, value in response.getheaders():
            self.headers.setdefault(name.lower(), []).append(value)
        self.body = response.read()

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class Service:
    """`with Service("ricloud") as service:` on a database of its own, which outlives a restart."""

    def __init__(self, name, *arguments):
        self.binary = EXAMPLES / name
        self.arguments = arguments
        self.folder = tempfile.TemporaryDirectory()
        self.database = pathlib.Path(self.folder.name) / "keys.db"
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        try:
            self.stop()
        finally:
            self.folder.cleanup()

    def start(self):
        """Starts it, and reads its first line."""
        self.errors = tempfile.TemporaryFile()
        self.is_new = not self.database.exists()
        command = [self.binary, "--listen", "127.0.0.1:0", "--db", self.database, *self.arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors)
        lines = queue.Queue()
        threading.Thread(target=lambda: lines.put(self.process.stdout.readline()), daemon=True).start()
        try:
            line = lines.get(timeout=PATIENCE)
        except queue.Empty:
            line = b""
        if not line:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.binary.name} has no first line: {self.said()}")
        self.first_line = json.loads(line)
        self.url = self.first_line["url"]

    def stop(self):
        """Tells it to stop; it has to end by itself, without an error or a panic."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process.stdout.close()
            self.process, said = None, self.said()
        # It says in one line that its database is new, and nothing else.
        lines = said.splitlines()
        if code != 0 or len(lines) != self.is_new or not all(" is new" in line for line in lines):
            raise AssertionError(f"{self.binary.name} ended with {code}, saying: {said}")

    def restart(self):
        self.stop()
        self.start()

    def said(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def ask(self, method, path, headers=(), body=None):
        """One request on a connection of its own, to a path below the service's URL.

        Headers are pairs, so that one may stand twice, and are sent as they are: bytes too. Nothing
        is added but `Host` and `Content-Length`.
        """
        url = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=PATIENCE)
        try:
            connection.putrequest(method, url.path + path, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            if body is not None:
                body = body if isinstance(body, bytes) else body.encode()
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            return Answer(connection.getresponse())
        finally:
            connection.close()


class ServiceCase(unittest.TestCase):
    """Tests of one class share a service: subclasses say which in `SERVICE`."""

    SERVICE = None
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.service = Service(cls.SERVICE)
        cls.addClassCleanup(cls.service.__exit__)
        cls.service.start()

    def refused(self, answer, status, *sent):
        """A refusal of this status: JSON in the body, and nothing in it of the secrets sent."""
        self.assertEqual(answer.status, status, answer)
        self.assertTrue(answer.headers["content-type"][0].startswith("application/"), answer.headers)
        self.assertIsInstance(answer.json(), dict, answer)
        for secret in sent:
            secret = secret if isinstance(secret, bytes) else secret.encode()
            for text in [answer.body, repr(answer.headers).encode()]:
                self.assertNotIn(secret, text)
        return answer.json()
