"""What the example `sensorbucket` doesn't do, and how it says so."""

import json
import urllib.parse
from datetime import datetime, timedelta, timezone

import sensorbucket
from sensorbucket import exceptions

from sensorbucket_case import (
    ARCHIVED, BAD_PERMISSION, Case, FORBIDDEN, INVALID_INPUT, INVALID_TYPE, JSON, KEY_NOT_FOUND,
    MALFORMED, NAME_TAKEN, NOT_A_NUMBER, NO_AUTHORIZATION, NO_NAME, NO_PERMISSION, NO_SUCH_KEY,
    NO_TENANT, PAST, PERMISSIONS, REVOKED, TENANT_NOT_FOUND, UNAUTHORIZED, now,
)  # fmt: skip


class Refusals(Case):
    """What isn't done, and how it is said."""

    def test_checks_of_a_new_key_in_their_order(self):
        # Each body has the fault that is named, and those that are looked for after it.
        self.create(1, name="taken")
        past = "2001-01-01T00:00:00Z"
        for status, expected, body in [
            (400, MALFORMED, {"name": 1, "tenant_id": -1, "expiration_date": past, "permissions": []}),
            (400, MALFORMED, {"permissions": [1], "name": ""}),
            (400, BAD_PERMISSION, {"name": "", "tenant_id": -1, "permissions": ["READ_NOTHING"]}),
            (400, NO_NAME, {"name": "", "tenant_id": 0, "expiration_date": past, "permissions": []}),
            (400, NO_NAME, {}),
            (400, NO_TENANT, {"name": "x", "tenant_id": 0, "expiration_date": past, "permissions": []}),
            (400, NO_TENANT, {"name": "x"}),
            (400, PAST, {"name": "x", "tenant_id": 99, "expiration_date": past, "permissions": []}),
            (400, NO_PERMISSION, {"name": "x", "tenant_id": 99, "permissions": []}),
            (400, NO_PERMISSION, {"name": "x", "tenant_id": 99}),
            (404, TENANT_NOT_FOUND, {"name": "x", "tenant_id": 99, "permissions": ["READ_DEVICES"]}),
            (404, ARCHIVED, {"name": "weather station", "tenant_id": 3, "permissions": ["READ_DEVICES"]}),
            (403, FORBIDDEN, {"name": "weather station", "tenant_id": 4, "permissions": ["READ_DEVICES"]}),
            (400, NAME_TAKEN, {"name": "taken", "tenant_id": 1, "permissions": ["READ_DEVICES"]}),
        ]:  # fmt: skip
            self.answered(self.ask("POST", "/api-keys", body), status, expected)

    def test_the_first_fault_in_the_body_counts(self):
        for body, expected in [
            ('{"permissions":["X"],"name":1}', BAD_PERMISSION),
            ('{"name":1,"permissions":["X"]}', MALFORMED),
            ('{"permissions":["X"],"expiration_date":"soon"}', BAD_PERMISSION),
            ('{"expiration_date":"soon","permissions":["X"]}', MALFORMED),
            ('{"permissions":["READ_DEVICES","X",1]}', BAD_PERMISSION),
            ('{"permissions":["READ_DEVICES",1,"X"]}', MALFORMED),
            # Not JSON, wherever that shows.
            ('{"permissions":["X"],"name":', MALFORMED),
        ]:
            self.answered(self.ask("POST", "/api-keys", body), 400, expected)

    def test_the_client_says_so(self):
        client = self.client()
        for exception, expected, more in [
            (exceptions.BadRequestException, NO_NAME, {"name": ""}),
            (exceptions.BadRequestException, NO_TENANT, {"tenant_id": 0}),
            (exceptions.BadRequestException, NO_TENANT, {"tenant_id": -5}),
            (exceptions.BadRequestException, PAST, {"expiration_date": now() - timedelta(seconds=1)}),
            (exceptions.BadRequestException, PAST, {"expiration_date": datetime(1, 1, 1, tzinfo=timezone.utc)}),
            # Without a zone, which the client lets pass.
            (exceptions.BadRequestException, MALFORMED, {"expiration_date": datetime(2040, 1, 1)}),
            (exceptions.BadRequestException, NO_PERMISSION, {"permissions": []}),
            (exceptions.BadRequestException, NO_PERMISSION, {"permissions": None}),
            (exceptions.BadRequestException, BAD_PERMISSION, {"permissions": ["read_devices"]}),
            (exceptions.BadRequestException, BAD_PERMISSION, {"permissions": ["READ_DEVICES", "*"]}),
            (exceptions.BadRequestException, BAD_PERMISSION, {"permissions": ["WRITE_TRACING"]}),
            (exceptions.NotFoundException, TENANT_NOT_FOUND, {"tenant_id": 2**63 - 1}),
            (exceptions.NotFoundException, ARCHIVED, {"tenant_id": 3}),
            (exceptions.ForbiddenException, FORBIDDEN, {"tenant_id": 4}),
        ]:
            request = sensorbucket.CreateApiKeyRequest(**self.wish(**more))
            error = self.fails(exception, client.create_api_key, request)
            self.assertEqual(json.loads(error.body), expected)
            if exception is exceptions.BadRequestException:
                self.assertEqual((error.data.message, error.data.code), (expected["message"], expected.get("code")))

    def test_content_types(self):
        body = json.dumps(self.wish(name=""))
        authorization = ("Authorization", f"Bearer {self.token}")
        for kind in [
            None, "", "text/plain", "application/json; charset=latin1", "application/json; boundary=x",
            "application/problem+json", "application/x-www-form-urlencoded", b"\xff",
        ]:  # fmt: skip
            headers = [authorization] + ([("Content-Type", kind)] if kind is not None else [])
            self.answered(self.service.ask("POST", "/api-keys", headers, body), 400, INVALID_TYPE)
            # It comes before what is wrong with the body.
            self.answered(self.service.ask("POST", "/api-keys", headers, "{"), 400, INVALID_TYPE)
        for kind in [JSON[1], "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"]:
            headers = [authorization, ("Content-Type", kind)]
            self.answered(self.service.ask("POST", "/api-keys", headers, body), 400, NO_NAME)

    def test_bodies_that_are_not_what_they_should_be(self):
        deep = 20_000
        for body in [
            "", " ", "{", "}", "nothing", "[]", "1", '"name"', "true", "[{}]", "{} {}", '{"name":"x",}', "NaN",
            b"\xff\xfe", b'{"name":"\xff"}', b"\xef\xbb\xbf{}", "\x00", '{"name":"\\ud800"}', "name=x&tenant_id=1",
            "[" * deep + "]" * deep, '{"name":' * 8_000, '{"other":' * 500 + "1" + "}" * 500,
        ]:  # fmt: skip
            self.answered(self.ask("POST", "/api-keys", body), 400, MALFORMED)
        # In Go, where the API comes from, null leaves everything as it was.
        self.answered(self.ask("POST", "/api-keys", "null"), 400, NO_NAME)

    def test_members_of_wrong_types(self):
        for name, values in [
            ("name", [1, True, [], {}, 1.5]),
            ("tenant_id", ["1", 1.0, 1.5, True, [], {}, [1], 2**63, -(2**63) - 1, 10**40]),
            ("permissions", ["READ_DEVICES", 1, {}, {"READ_DEVICES": True}, [1], [None], [["READ_DEVICES"]]]),
            ("expiration_date", [
                1, True, [], {}, "", "soon", "2040", "2040-01-01", "2040-01-01T00:00:00", "2040-01-01 00:00",
                "2040-13-01T00:00:00Z", "2040-02-30T00:00:00Z", "2040-01-01T25:00:00Z", "10000-01-01T00:00:00Z",
                "2040-01-01T00:00:00+99:00", "-2040-01-01T00:00:00Z", "2040-01-01T00:00:00Z ", "x" * 10_000,
            ]),
        ]:  # fmt: skip
            for value in values:
                self.answered(self.ask("POST", "/api-keys", self.wish(**{name: value})), 400, MALFORMED)

    def test_nulls_are_as_good_as_nothing(self):
        for name, expected in [("name", NO_NAME), ("tenant_id", NO_TENANT), ("permissions", NO_PERMISSION)]:
            for value in [None, ...]:
                self.answered(self.ask("POST", "/api-keys", self.wish(**{name: value})), 400, expected)

    def test_what_is_not_known_is_passed_over(self):
        for more in [{"other": 1}, {"": {}}, {"id": 1}, {"api_key": "mine"}, {"manages": [4]}, {"settings": {}}]:
            self.assertEqual(self.ask("POST", "/api-keys", self.wish(**more)).status, 201)
        body = '{"name":"first","tenant_id":4,"permissions":["READ_DEVICES"],"tenant_id":1,"name":"%s"}'
        self.assertEqual(self.ask("POST", "/api-keys", body % self.name()).status, 201)

    def test_names(self):
        names = [
            "n" * 255, " ", "'; DROP TABLE keys; --", "\u202e", "a/b?c#d%00", "é" * 127,
            # More bytes than keyhasp's names have, or control characters.
            "é" * 128, "é" * 255, "é" * 254 + "e", "\N{SEEDLING}" * 255, "a\nb", "a\rb", "ab\x7f", "\u0085" * 255,
        ]  # fmt: skip
        for name in names:
            id, _ = self.create(2, name=name)
            self.assertEqual(self.client().get_api_key(id).name, name)
        for name in names:
            self.answered(self.ask("POST", "/api-keys", self.wish(name=name, tenant_id=2)), 400, NAME_TAKEN)
        for name in ["n" * 256, "é" * 256, "n" * 60_000, "\x00", "a\x00b"]:
            answer = self.ask("POST", "/api-keys", self.wish(name=name))
            self.assertIn("name", self.refused(answer, 400)["message"])

    def test_bodies_that_are_too_large(self):
        for size in [65_537, 1_000_000, 3_000_000]:
            self.refused(self.ask("POST", "/api-keys", self.wish(name="n" * size)), 413)

    def test_numbers_that_are_no_keys(self):
        for id in ["0", "-1", "1000000", "9223372036854775807", "-9223372036854775808"]:
            self.answered(self.ask("GET", f"/api-keys/{id}"), 404, KEY_NOT_FOUND)
            self.answered(self.ask("DELETE", f"/api-keys/{id}"), 404, NO_SUCH_KEY)
        for id in [
            "x", "1.0", "1e0", "0x1", "%20", "%FF", "%00", "1%2F2", "9223372036854775808", "9" * 5_000, "null",
            "1;2", "١", "1,2", "-", "+",
        ]:  # fmt: skip
            id = urllib.parse.quote(id, safe="%;,+-")
            self.answered(self.ask("GET", f"/api-keys/{id}"), 400, NOT_A_NUMBER)
            self.answered(self.ask("DELETE", f"/api-keys/{id}"), 400, NOT_A_NUMBER)
        self.fails(exceptions.NotFoundException, self.client().get_api_key, 10**9)
        self.fails(exceptions.NotFoundException, self.client().revoke_api_key, 0)

    def test_paths_and_methods_that_are_not_there(self):
        for path in ["", "/", "/api-keys/", "/api-keys/1/", "/api-keys/1/rotate", "/keys", "/api-keys/authenticate/x"]:
            self.refused(self.ask("GET", path), 404)
        for method, path, allowed in [
            ("PUT", "/api-keys", {"GET", "HEAD", "POST"}),
            ("DELETE", "/api-keys", {"GET", "HEAD", "POST"}),
            ("POST", "/api-keys/1", {"GET", "HEAD", "DELETE"}),
            ("PATCH", "/api-keys/1", {"GET", "HEAD", "DELETE"}),
            ("BREW", "/api-keys/1", {"GET", "HEAD", "DELETE"}),
        ]:
            answer = self.ask(method, path)
            self.refused(answer, 405)
            self.assertEqual(set(answer.headers["allow"][0].split(",")), allowed)


class NotLetIn(Case):
    CALLS = [("GET", "/api-keys"), ("POST", "/api-keys"), ("GET", "/api-keys/1"), ("DELETE", "/api-keys/1")]

    def test_nothing_is_open(self):
        for method, path in [*self.CALLS, ("PUT", "/api-keys"), ("GET", "/nothing"), ("GET", "/api-keys/x")]:
            self.answered(self.service.ask(method, path), 401, UNAUTHORIZED)
        # Before the body is looked at.
        self.answered(self.service.ask("POST", "/api-keys", [("Content-Type", "text/plain")], "{"), 401, UNAUTHORIZED)

    def test_tokens_that_are_not_good(self):
        good = self.token
        id, revoked = self.create()
        self.client().revoke_api_key(id)
        last = "a" if good[-1] != "a" else "b"
        secret = good[:50] + ("a" if good[50] != "a" else "b") + good[51:]
        malformed = [
            "nobody", good[:-1], good + "a", good.replace("sensorbucket_", ""), "x" * 65_536, f"{good},{good}",
            f"{good} {good}", "MjU5MzE1NDgwMjE2NTMwMTEyODo2MjY2MDdkMGViY2Q5MGRhMTRkZWE4NGY4MjEzYjRiNw",
        ]  # fmt: skip
        wrong = [secret, good[:-1] + last, revoked]
        for token in malformed + wrong:
            for method, path in self.CALLS:
                answer = self.ask(method, path, token=token)
                self.answered(answer, 401, UNAUTHORIZED)
                self.refused(answer, 401, token)
            error = self.fails(exceptions.UnauthorizedException, self.client(token).list_api_keys)
            self.assertEqual(json.loads(error.body), UNAUTHORIZED)
        for token in malformed:
            self.answered(self.authenticate(token), 400, INVALID_INPUT)
        for token in wrong:
            self.answered(self.authenticate(token), 401, {})

    def test_headers_of_all_sorts(self):
        good = self.token
        for value in [
            b"", b"Bearer", b"Bearer ", good.encode(), b"Token " + good.encode(), b"Bearer\t" + good.encode(),
            b"Basic " + b"x" * 70_000, b"\xff", b"Bearer=" + good.encode(), b"Bearer:" + good.encode(),
        ]:  # fmt: skip
            headers = [("Authorization", value)]
            self.refused(self.service.ask("GET", "/api-keys", headers), 401, good)
            self.answered(self.service.ask("GET", "/api-keys/authenticate", headers), 400, NO_AUTHORIZATION)
        self.answered(self.service.ask("GET", "/api-keys/authenticate"), 400, NO_AUTHORIZATION)
        for value in [b"Bearer \xff\xfe\x80", "Bearer päßword".encode()]:
            headers = [("Authorization", value)]
            self.refused(self.service.ask("GET", "/api-keys", headers), 401)
            self.answered(self.service.ask("GET", "/api-keys/authenticate", headers), 400, INVALID_INPUT)
        for twice in [
            [("Authorization", f"Bearer {good}")] * 2,
            [("Authorization", f"Bearer {good}"), ("Authorization", "Basic x")],
        ]:
            self.refused(self.service.ask("GET", "/api-keys", twice), 400, good)
            self.answered(self.service.ask("GET", "/api-keys/authenticate", twice), 400, INVALID_INPUT)
        # A token in the query is none.
        self.answered(self.service.ask("GET", f"/api-keys?access_token={good}"), 401, UNAUTHORIZED)
        path = f"/api-keys/authenticate?access_token={good}"
        self.answered(self.service.ask("GET", path), 400, NO_AUTHORIZATION)
        # A scheme's case doesn't matter, nor do blanks around the token.
        for value in [f"bearer {good}", f"BEARER   {good}  "]:
            self.assertEqual(self.service.ask("GET", "/api-keys", [("Authorization", value)]).status, 200)

    def test_permissions(self):
        victim, _ = self.create()
        _, reader = self.create(1, ["READ_API_KEYS"])
        _, writer = self.create(1, ["WRITE_API_KEYS"])
        _, neither = self.create(1, [name for name in PERMISSIONS if not name.endswith("API_KEYS")])
        reads = [("GET", "/api-keys"), ("HEAD", "/api-keys"), ("GET", f"/api-keys/{victim}")]
        writes = [("POST", "/api-keys"), ("DELETE", f"/api-keys/{victim}"), ("DELETE", "/api-keys/x")]
        for token, refused in [(reader, writes), (writer, reads), (neither, reads + writes)]:
            for method, path in refused:
                answer = self.ask(method, path, token=token)
                self.assertEqual(answer.status, 403, (method, path))
                if method != "HEAD":
                    self.answered(answer, 403, FORBIDDEN)
        # Before the body is read, and whatever its type is.
        for headers in [[], [("Content-Type", "text/plain")]]:
            headers = [("Authorization", f"Bearer {reader}"), *headers]
            self.answered(self.service.ask("POST", "/api-keys", headers, "{"), 403, FORBIDDEN)
        error = self.fails(exceptions.ForbiddenException, self.client(reader).revoke_api_key, victim)
        self.assertEqual(json.loads(error.body), FORBIDDEN)
        self.fails(exceptions.ForbiddenException, self.client(writer).list_api_keys)
        self.assertEqual(self.client(reader).get_api_key(victim).id, victim)
        self.create(1, client=self.client(writer))
        self.assertEqual(self.client(writer).revoke_api_key(victim).message, REVOKED["message"])
