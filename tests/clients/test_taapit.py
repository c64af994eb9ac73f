"""The example `taapit` as a process: its first line, restarts, keys made beside it, bare HTTP.

There is no client for it. Its answers one by one are tested in `tests/taapit`.
"""

import json
import re
import subprocess
import time

import service
from service import PATIENCE, Service, ServiceCase

TOKEN = re.compile(r"taapit_[0-9A-Za-z]{70}")
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
RESOURCES = ["domains", "links", "projects", "workspaces", "analytics"]


def ask(running, token, path="/api-keys/validate", method="GET", body=None):
    """The answer to whoever asks again when told 503.

    On a machine that stood still the service hasn't heard for too long what others did, and answers
    nobody until it has polled.
    """
    until = time.monotonic() + PATIENCE
    while True:
        answer = running.ask(method, path, [("Authorization", f"Bearer {token}")], body)
        if answer.status != 503 or time.monotonic() > until:
            return answer
        time.sleep(0.05)


def create(running, *arguments):
    """`--create` on the running service's database, by a process of its own."""
    command = [service.EXAMPLES / "taapit", "--db", running.database, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)


def last_uses(listed):
    """Taken out of the list, since they change with the asking."""
    return [key.pop("last_used_at") for key in listed["items"]]


class Started(ServiceCase):
    SERVICE = "taapit"

    def test_first_line(self):
        line = self.service.first_line
        self.assertEqual(set(line), {"url", "token", "read_only_token", "limited_token"})
        self.assertRegex(line["url"], r"^http://127\.0\.0\.1:\d+/v1$")
        levels = {"token": "full_access", "read_only_token": "read_only", "limited_token": "limited"}
        for name, level in levels.items():
            self.assertRegex(line[name], TOKEN)
            own = ask(self.service, line[name])
            self.assertEqual((own.status, own.json()["permission_level"]), (200, level))
            self.assertIs(own.json()["valid"], True)
            # The level shown is the one that holds.
            for resource, may in own.json()["permissions"].items():
                self.assertIn(resource, RESOURCES)
                path = f"/{resource}"
                read = ask(self.service, line[name], path).status
                write = ask(self.service, line[name], path, "POST", '{"name": "x"}').status
                expected = {"write": (200, 201), "read": (200, 403), "none": (403, 403)}[may]
                self.assertEqual((read, write), expected, (level, resource))

    def test_headers(self):
        good = self.service.first_line["token"].encode()
        for status, headers in [
            (401, []),
            (401, [("Authorization", b"")]),
            (401, [("Authorization", b"Bearer")]),
            (401, [("Authorization", b"Bearer ")]),
            (401, [("Authorization", b"Bearer \xff\xc3\xbc")]),
            (401, [("Authorization", b"Bearer " + b"x" * 65536)]),
            (401, [("Authorization", b"Token " + good)]),
            (401, [("Authorization", good)]),
            (400, [("Authorization", b"Bearer " + good)] * 2),
        ]:
            answer = self.service.ask("GET", "/links", headers)
            body = self.refused(answer, status, good, b"x" * 64)
            self.assertEqual(set(body), {"code", "message"})
            self.assertEqual(status == 401, "deactivated" in body["message"])
            self.assertIn("www-authenticate", answer.headers)

    def test_a_body_without_content_type_and_a_huge_one(self):
        token = self.service.first_line["token"]
        made = ask(self.service, token, "/domains", "POST", '{"name": "ü"}')
        self.assertEqual((made.status, made.json()["name"]), (201, "ü"))
        huge = ask(self.service, token, "/domains", "POST", b" " * 1_000_000)
        self.assertEqual(self.refused(huge, 413)["code"], "body_too_large")


class Lasting(ServiceCase):
    """Each test has a service of its own, since it is stopped in between."""

    @classmethod
    def setUpClass(cls):
        pass

    def test_restart(self):
        with Service("taapit") as running:
            line = running.first_line
            full, limited = line["token"], line["limited_token"]
            own = ask(running, limited).json()
            off = ask(running, full, f"/api-keys/{own['id']}", "DELETE")
            self.assertEqual((off.status, off.json()["is_active"]), (200, False))
            listed = ask(running, full, "/api-keys").json()
            # Newest first, so the last is the one by which it is listed, and used again then.
            uses = last_uses(listed)
            self.assertEqual([use is None for use in uses], [False, True, False])
            running.restart()
            again = dict(running.first_line)
            self.assertTrue(again.pop("url").endswith("/v1"))
            nothing = {"token": None, "read_only_token": None, "limited_token": None}
            self.assertEqual(again, nothing)
            listed_again = ask(running, full, "/api-keys").json()
            self.assertEqual(last_uses(listed_again)[:2], uses[:2])
            self.assertEqual(listed_again, listed)
            self.assertEqual(ask(running, line["read_only_token"]).status, 200)
            self.assertEqual(ask(running, limited).status, 401)

    def test_keys_made_beside_it(self):
        with Service("taapit") as running:
            made = create(running, "--create", "website", "limited:links=read,analytics=read")
            self.assertEqual((made.returncode, made.stderr), (0, ""))
            key = json.loads(made.stdout)
            self.assertEqual((key["name"], key["permission_level"]), ("website", "limited"))
            self.assertEqual({r for r, may in key["permissions"].items() if may == "read"},
                             {"links", "analytics"})
            token = key.pop("token")
            # It is known here at the next poll, which is a second away at most; a machine may be slow.
            until = time.monotonic() + PATIENCE
            while ask(running, token).status == 401 and time.monotonic() < until:
                time.sleep(0.05)
            own = ask(running, token).json()
            self.assertIs(own.pop("valid"), True)
            # It is used since.
            self.assertIsNone(key["last_used_at"])
            self.assertRegex(own["last_used_at"], DATE)
            key["last_used_at"] = own["last_used_at"]
            self.assertEqual(own, key)
            listed = ask(running, running.first_line["token"], "/api-keys").json()
            self.assertIn(key, listed["items"])

    def test_several_accounts(self):
        with Service("taapit") as running:
            made = create(running, "--create", "theirs", "full_access", "--user", "user_2")
            self.assertEqual((made.returncode, made.stderr), (0, ""))
            key = json.loads(made.stdout)
            until = time.monotonic() + PATIENCE
            while ask(running, key["token"]).status == 401 and time.monotonic() < until:
                time.sleep(0.05)
            listed = ask(running, key["token"], "/api-keys").json()["items"]
            self.assertEqual([one["id"] for one in listed], [key["id"]])
            full = running.first_line["token"]
            listed = ask(running, full, "/api-keys").json()["items"]
            self.assertNotIn(key["id"], [one["id"] for one in listed])
            for method, path in [("DELETE", ""), ("POST", "/rotate")]:
                answer = ask(running, full, f"/api-keys/{key['id']}{path}", method)
                self.assertEqual(self.refused(answer, 404)["code"], "not_found")
            rotated = ask(running, key["token"], f"/api-keys/{key['id']}/rotate", "POST")
            self.assertRegex(rotated.json()["token"], TOKEN)
            self.assertEqual(ask(running, rotated.json()["token"], "/api-keys/alerts").json()["items"], [])

    def test_addresses(self):
        """Over a socket the address is the connection's, whatever a header says; behind a proxy it is
        the proxy's word."""
        elsewhere = "192.0.2.7"
        with Service("taapit") as running:
            full, limited = running.first_line["token"], running.first_line["limited_token"]
            path = f"/api-keys/{ask(running, limited).json()['id']}"
            for listed, status in [(["127.0.0.0/8"], 200), ([elsewhere], 403), (None, 200)]:
                changed = ask(running, full, path, "PATCH", json.dumps({"allowed_ips": listed}))
                self.assertEqual(changed.status, 200)
                self.assertEqual(ask(running, limited).status, status, listed)
            changed = ask(running, full, path, "PATCH", json.dumps({"allowed_ips": [elsewhere]}))
            self.assertEqual(changed.json()["allowed_ips"], [elsewhere + "/32"])
            headers = [("Authorization", f"Bearer {limited}"), ("X-Forwarded-For", elsewhere)]
            spoofed = running.ask("GET", "/links", headers)
            self.assertEqual(self.refused(spoofed, 403)["code"], "address_not_allowed")
            running.arguments = ("--proxies", "1")
            running.restart()
            until = time.monotonic() + PATIENCE
            while (told := running.ask("GET", "/links", headers)).status == 503:
                self.assertLess(time.monotonic(), until)
            self.assertEqual(told.status, 200)
            headers[1] = ("X-Forwarded-For", f"{elsewhere}, 127.0.0.1")
            self.assertEqual(running.ask("GET", "/links", headers).status, 403)

    def test_rate(self):
        with Service("taapit") as running:
            token = running.first_line["token"]
            headers = ask(running, token).headers
            self.assertEqual(headers["x-ratelimit-limit"], ["600"])
            # It grows back at ten a second, so a slow machine asks for long before it is rejected.
            until = time.monotonic() + 10 * PATIENCE
            while (answer := ask(running, token, "/links")).status == 200:
                self.assertLess(time.monotonic(), until)
            self.assertEqual(self.refused(answer, 429)["code"], "rate_limited")
            self.assertEqual(answer.headers["retry-after"], ["1"])
            self.assertEqual(answer.headers["x-ratelimit-remaining"], ["0"])

    def test_keys_that_are_not_made(self):
        with Service("taapit") as running:
            for arguments in [
                ["--create", "website", "limited"],
                ["--create", "website", "everything"],
                ["--create", "website", "limited:api_keys=write"],
                ["--create", "", "full_access"],
                ["--create", "x" * 256, "full_access"],
                ["--create", "website"],
                ["--create"],
                ["--create", "website", "read_only", "--from", "192.0.2.7/24"],
                ["--create", "website", "read_only", "--from", "localhost"],
                ["--create", "website", "read_only", "--from"],
                ["--create", "website", "read_only", "--user", ""],
                ["--create", "website", "read_only", "--user"],
                ["--user", "user_2"],
                ["--from", "192.0.2.7"],
                ["--proxies", "0"],
                ["--proxies", "one"],
                ["--other"],
            ]:
                made = create(running, *arguments)
                self.assertEqual((made.returncode, made.stdout), (1, ""), arguments)
                self.assertNotIn("panicked", made.stderr)
                self.assertTrue(made.stderr)
            listed = ask(running, running.first_line["token"], "/api-keys").json()
            self.assertEqual(len(listed["items"]), 3)
