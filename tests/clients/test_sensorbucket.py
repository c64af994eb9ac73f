"""The example `sensorbucket`, asked by the client `sensorbucket` 1.2.5, and by plain HTTP where that
can't."""

import concurrent.futures
import json
import re
import urllib.parse
from datetime import datetime, timedelta, timezone

import sensorbucket
from sensorbucket import exceptions

from service import ServiceCase

RESOURCES = ["DEVICES", "API_KEYS", "TENANTS", "PIPELINES", "MEASUREMENTS", "USER_WORKERS", "PROJECTS"]
PERMISSIONS = [f"{verb}_{name}" for name in RESOURCES for verb in ["READ", "WRITE"]] + ["READ_TRACING"]
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
JSON = ("Content-Type", "application/json")

INVALID_TYPE = {"message": "Invalid content type", "code": "INVALID_CONTENT_TYPE"}
MALFORMED = {"message": "Malformed JSON", "code": "MALFORMED_JSON"}
BAD_PERMISSION = {"message": "permission value is invalid", "code": "ERR_PERMISSION_INVALID"}
NO_NAME = {"message": "name cannot be empty"}
NO_TENANT = {"message": "tenant_id must be higher than 0"}
PAST = {"message": "expiration_date must be set in the future"}
NO_PERMISSION = {"message": "at least one permission is required"}
TENANT_NOT_FOUND = {"message": "Tenant could not be found", "code": "TENANT_NOT_FOUND"}
ARCHIVED = {"message": "Organisation does not exist or has been archived"}
NAME_TAKEN = {
    "message": "API Key with name already exists for this tenant",
    "code": "API_KEY_NAME_TENANT_COMBO_NOT_UNIQUE",
}
KEY_NOT_FOUND = {"message": "API Key not found", "code": "ERR_API_KEY_NOT_FOUND"}
NO_SUCH_KEY = {"message": "Key does not exist"}
NOT_A_NUMBER = {"message": "api_key_id must be a valid int"}
INVALID_PARAMS = {"message": "invalid params"}
UNAUTHORIZED = {"message": "Unauthorized", "code": "UNAUTHORIZED"}
FORBIDDEN = {"message": "Forbidden", "code": "FORBIDDEN"}
REVOKED = {"message": "API key has been revoked"}
NO_AUTHORIZATION = {"message": "Authorization header must be set"}
INVALID_INPUT = {"message": "Invalid input"}


def now():
    return datetime.now(timezone.utc)


class Case(ServiceCase):
    SERVICE = "sensorbucket"
    names = 0

    @property
    def token(self):
        return self.service.first_line["token"]

    @property
    def session(self):
        return self.service.first_line["session"]

    def client(self, token=None, cookie=None):
        """The real client, which presents this token, or this cookie if that is given."""
        configuration = sensorbucket.Configuration(host=self.service.url)
        if cookie is None or token is not None:
            configuration.access_token = token or self.token
        if cookie is not None:
            configuration.api_key["CookieSession"] = cookie
        return sensorbucket.APIKeysApi(sensorbucket.ApiClient(configuration))

    def name(self):
        """One that no key has yet."""
        Case.names += 1
        return f"key {Case.names}"

    def create(self, tenant=1, permissions=("READ_DEVICES",), client=None, **more):
        """The id and token of a new key."""
        name = more.pop("name", None) or self.name()
        request = sensorbucket.CreateApiKeyRequest(
            name=name, tenant_id=tenant, permissions=list(permissions), **more
        )
        token = (client or self.client()).create_api_key(request).api_key
        [id] = [key["id"] for key in self.all(tenant) if key["name"] == name]
        return id, token

    def all(self, *tenants):
        query = urllib.parse.urlencode([("tenant_id", tenant) for tenant in tenants] + [("limit", 1000)])
        page = self.ask("GET", f"/api-keys?{query}").json()
        self.assertEqual(page["links"]["next"], "")
        return page["data"]

    def fails(self, exception, call, *arguments, **parameters):
        with self.assertRaises(exception) as caught:
            call(*arguments, **parameters)
        self.assertIs(type(caught.exception), exception)
        return caught.exception

    def ask(self, method, path, body=None, token=None, headers=()):
        """Plain HTTP with a token, the administrator's unless told; JSON if there is a body."""
        headers = [("Authorization", f"Bearer {token or self.token}"), *headers]
        if body is not None:
            headers.append(JSON)
            if not isinstance(body, (bytes, str)):
                body = json.dumps(body)
        return self.service.ask(method, path, headers, body)

    def wish(self, **members):
        """A body that can be created from, but for what is told."""
        body = {"name": self.name(), "tenant_id": 1, "permissions": ["READ_DEVICES"], **members}
        return {name: value for name, value in body.items() if value is not ...}

    def authenticate(self, token, method="GET"):
        headers = [("Authorization", f"Bearer {token}")]
        return self.service.ask(method, "/api-keys/authenticate", headers)

    def answered(self, answer, status, body):
        self.assertEqual((answer.status, answer.json()), (status, body))
        self.assertEqual(answer.headers["content-type"], ["application/json"])


class Calls(Case):
    """What each call does, when it is asked as it should be."""

    def test_create_and_get(self):
        before = now() - timedelta(seconds=2)
        end = datetime(2030, 1, 1, 12, 30, 15, 250_000, timezone(timedelta(hours=2)))
        name = self.name() + " ünïcode / \"quoted\" \N{SEEDLING}"
        id, token = self.create(name=name, permissions=PERMISSIONS[::-1], expiration_date=end)
        self.assertTrue(token.startswith("sensorbucket_"), "keyhasp's form")
        key = self.client().get_api_key(id)
        self.assertEqual((key.id, key.name), (id, name))
        self.assertEqual((key.tenant_id, key.tenant_name), (1, "SensorBucket"))
        self.assertEqual(key.expiration_date, end)
        self.assertEqual(key.expiration_date.utcoffset(), timedelta(0))
        self.assertTrue(before <= key.created <= now() + timedelta(seconds=2), key.created)
        plain = self.ask("GET", f"/api-keys/{id}")
        self.assertNotIn(token.encode(), plain.body)
        fields = {"id", "name", "tenant_id", "tenant_name", "expiration_date", "created", "permissions"}
        self.assertEqual(set(plain.json()), fields)
        self.assertIs(type(plain.json()["id"]), int)
        self.assertEqual(plain.json()["permissions"], PERMISSIONS)
        self.assertEqual(plain.json()["expiration_date"], "2030-01-01T10:30:15.25Z")
        self.assertRegex(plain.json()["created"], DATE)

    def test_created_is_201_with_the_token_alone(self):
        answer = self.ask("POST", "/api-keys", self.wish())
        self.assertEqual(answer.status, 201)
        self.assertEqual(list(answer.json()), ["api_key"])
        self.assertEqual(answer.headers["content-type"], ["application/json"])
        self.assertEqual(self.authenticate(answer.json()["api_key"]).status, 200)

    def test_without_an_end(self):
        for wish in [self.wish(), self.wish(expiration_date=None)]:
            self.assertEqual(self.ask("POST", "/api-keys", wish).status, 201)
            [key] = [key for key in self.all(1) if key["name"] == wish["name"]]
            self.assertIsNone(key["expiration_date"])
            self.assertIsNone(self.client().get_api_key(key["id"]).expiration_date)

    def test_the_last_moment_that_can_be_written(self):
        end = "9999-12-31T23:59:59.999Z"
        for date in [end, "9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59-12:00"]:
            wish = self.wish(expiration_date=date)
            self.assertEqual(self.ask("POST", "/api-keys", wish).status, 201)
            [key] = [key for key in self.all(1) if key["name"] == wish["name"]]
            self.assertEqual(key["expiration_date"], end)

    def test_each_permission_alone(self):
        for permission in PERMISSIONS:
            id, token = self.create(2, [permission])
            self.assertEqual(self.ask("GET", f"/api-keys/{id}").json()["permissions"], [permission])
            extra = {"extra": {"perms": [permission], "tid": 2}}
            self.answered(self.authenticate(token), 200, extra)
        id, _ = self.create(2, ["READ_TRACING"] * 3)
        self.assertEqual(self.ask("GET", f"/api-keys/{id}").json()["permissions"], ["READ_TRACING"])

    def test_revoke(self):
        id, token = self.create(name="once")
        self.assertEqual(self.client().revoke_api_key(id).to_dict(), REVOKED)
        self.answered(self.authenticate(token), 401, {})
        self.assertEqual(self.fails(exceptions.NotFoundException, self.client().get_api_key, id).status, 404)
        self.fails(exceptions.NotFoundException, self.client().revoke_api_key, id)
        self.answered(self.ask("GET", f"/api-keys/{id}"), 404, KEY_NOT_FOUND)
        self.answered(self.ask("DELETE", f"/api-keys/{id}"), 404, NO_SUCH_KEY)
        self.assertNotIn(id, [key["id"] for key in self.all(1)])
        # The name is free again.
        again, _ = self.create(name="once")
        self.assertGreater(again, id)

    def test_a_name_is_one_of_its_kind_in_its_tenant(self):
        self.create(1, name="twin")
        self.create(2, name="twin")
        error = self.fails(exceptions.BadRequestException, self.create, 1, name="twin")
        self.assertEqual(json.loads(error.body), NAME_TAKEN)
        self.assertEqual((error.data.message, error.data.code), (NAME_TAKEN["message"], NAME_TAKEN["code"]))

    def test_one_of_many_who_want_a_name_gets_it(self):
        wish = self.wish()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: self.ask("POST", "/api-keys", wish), range(16)))
        self.assertEqual(sorted(answer.status for answer in answers), [201] + [400] * 15)
        self.assertTrue(all(answer.json() == NAME_TAKEN for answer in answers if answer.status == 400))

    def test_authenticate(self):
        end = now().replace(microsecond=0) + timedelta(days=30)
        _, token = self.create(2, ["WRITE_DEVICES", "READ_DEVICES"], expiration_date=end)
        extra = {"exp": int(end.timestamp()), "perms": ["READ_DEVICES", "WRITE_DEVICES"], "tid": 2}
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"]:
            self.answered(self.authenticate(token, method), 200, {"extra": extra})
        # It is for a gateway that has no key of its own, and asks with a body now and then.
        headers = [("Authorization", f"bearer {token}"), ("Content-Type", "text/plain")]
        self.answered(self.service.ask("POST", "/api-keys/authenticate", headers, "x"), 200, {"extra": extra})


class Lists(Case):
    """Pages, on keys of tenant 2 and of nobody else's test."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        case = cls()
        cls.made = [case.create(2)[0] for _ in range(23)][::-1]
        cls.own = [key["id"] for key in case.all(1)]

    def test_pages_to_the_end(self):
        for limit in [1, 7, 22, 23, 24, 1000]:
            pages = list(self.client().list_api_keys_gen(tenant_id=2, limit=limit))
            self.assertEqual([key.id for page in pages for key in page.data], self.made)
            for page in pages:
                self.assertEqual((page.page_size, page.total_count), (len(page.data), 0))
                self.assertEqual(page.links.previous, "")
                self.assertLessEqual(page.page_size, limit)
            self.assertEqual([page.page_size for page in pages[:-1]], [limit] * (len(pages) - 1))

    def test_newest_first(self):
        data = self.all(1, 2)
        self.assertEqual(data, sorted(data, key=lambda key: (key["created"], key["id"]), reverse=True))
        self.assertEqual({key["tenant_id"]: key["tenant_name"] for key in data}, {1: "SensorBucket", 2: "Polder Board"})
        self.assertTrue(all(DATE.fullmatch(key["created"]) for key in data))
        token = self.ask("GET", "/api-keys/authenticate").json()["extra"]
        self.assertEqual(data[-1]["permissions"], token["perms"])

    def test_filters(self):
        every = self.made + self.own
        for query, expected in [
            ("", every), ("tenant_id=2", self.made), ("tenant_id=1", self.own),
            ("tenant_id=1&tenant_id=2", every), ("tenant_id=2&tenant_id=1&tenant_id=2", every),
            ("tenant_id=2&tenant_id=99", self.made), ("tenant_id=99", []), ("tenant_id=3", []),
            ("tenant_id=0", []), ("tenant_id=-1", []), ("tenant_id=9223372036854775807", []),
            ("tenant_id=2&other=thing", self.made), ("tenant_id=%32", self.made), ("cursor=", every),
        ]:  # fmt: skip
            answer = self.ask("GET", f"/api-keys?{query}")
            self.assertEqual([key["id"] for key in answer.json()["data"]], expected, query)
            self.assertEqual(answer.json()["links"], {"previous": "", "next": ""}, query)
        page = self.client().list_api_keys(tenant_id=99)
        self.assertEqual((page.data, page.page_size, page.links.next), ([], 0, ""))
        self.assertEqual(page.total_count, 0)

    def test_links_carry_the_query(self):
        query = "tenant_id=1&tenant_id=2&limit=5&x=a%20b%2B%26"
        first = self.ask("GET", f"/api-keys?{query}").json()
        link = first["links"]["next"]
        self.assertTrue(link.startswith(f"{self.service.url}/api-keys?"), link)
        pairs = urllib.parse.parse_qsl(urllib.parse.urlsplit(link).query, strict_parsing=True)
        cursor = dict(pairs)["cursor"]
        self.assertEqual(pairs[:-1], urllib.parse.parse_qsl(query))
        self.assertRegex(cursor, r"[0-9A-Za-z_-]+")
        seen = [key["id"] for key in first["data"]]
        while link:
            self.assertEqual(link.count("cursor="), 1)
            page = self.ask("GET", link.removeprefix(self.service.url)).json()
            seen += [key["id"] for key in page["data"]]
            link = page["links"]["next"]
        self.assertEqual(seen, self.made + self.own)
        # The cursor carries the limit.
        for limit in ["limit=1000", "limit=1", "limit=0"]:
            page = self.ask("GET", f"/api-keys?tenant_id=1&tenant_id=2&cursor={cursor}&{limit}").json()
            self.assertEqual([key["id"] for key in page["data"]], (self.made + self.own)[5:10])

    def test_limits(self):
        for limit in ["0", "100", "1000", "1001", "9223372036854775807"]:
            self.assertEqual(self.ask("GET", f"/api-keys?limit={limit}").json()["page_size"], 24)
        self.assertEqual(self.client().list_api_keys(limit=0).page_size, 24)
        error = self.fails(exceptions.BadRequestException, self.client().list_api_keys, limit=-1)
        self.assertEqual(error.data.message, "invalid params")
        for query in [
            "limit=-1", "limit=ten", "limit=1.5", "limit=%FF", "limit=9223372036854775808",
            "limit=1%00", "tenant_id=one", "tenant_id=", "tenant_id=1,2", "tenant_id=9223372036854775808",
            "tenant_id=1&tenant_id=x", "limit=%20%201",
        ]:  # fmt: skip
            self.answered(self.ask("GET", f"/api-keys?{query}"), 400, INVALID_PARAMS)

    def test_cursors_made_up(self):
        link = self.ask("GET", "/api-keys?tenant_id=2&limit=5").json()["links"]["next"]
        cursor = urllib.parse.parse_qs(urllib.parse.urlsplit(link).query)["cursor"][0]
        other = "0" if cursor[-1] != "0" else "1"
        for query in [
            "cursor=x", "cursor=%00", "cursor=%FF%FE", f"cursor={'A' * 20_000}", "cursor=gaFhAQ",
            # Another query's.
            f"cursor={cursor}", f"tenant_id=1&cursor={cursor}", f"tenant_id=99&cursor={cursor}",
            f"tenant_id=2&cursor={cursor[:-1]}", f"tenant_id=2&cursor={cursor[:-1]}{other}",
            f"tenant_id=2&cursor={cursor}{cursor}",
        ]:  # fmt: skip
            self.answered(self.ask("GET", f"/api-keys?{query}"), 400, INVALID_PARAMS)
        self.fails(exceptions.BadRequestException, self.client().list_api_keys, cursor="made up")

    def test_more_than_a_page_holds(self):
        tenants = "&".join(f"tenant_id={id}" for id in range(100, 400))
        self.assertEqual(self.ask("GET", f"/api-keys?{tenants}").json()["data"], [])


class Full(Case):
    def test_default_and_greatest_page(self):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: self.ask("POST", "/api-keys", self.wish(tenant_id=2)), range(1010)))
        self.assertEqual({answer.status for answer in answers}, {201})
        sizes = lambda **query: [page.page_size for page in self.client().list_api_keys_gen(tenant_id=2, **query)]
        self.assertEqual(sizes(), [100] * 10 + [10])
        self.assertEqual(sizes(limit=5000), [1000, 10])
        seen = [key.id for page in self.client().list_api_keys_gen(tenant_id=2) for key in page.data]
        self.assertEqual((len(seen), len(set(seen))), (1010, 1010))


class Refusals(Case):
    """What isn't done, and how it is said."""

    def test_checks_of_a_new_key_in_their_order(self):
        """Each body has the fault that is named, and all that are looked for after it."""
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
            None, "", "text/plain", "application/json; charset=utf-8", "application/json;", "Application/JSON",
            "application/problem+json", "application/x-www-form-urlencoded", b"\xff",
        ]:  # fmt: skip
            headers = [authorization] + ([("Content-Type", kind)] if kind is not None else [])
            self.answered(self.service.ask("POST", "/api-keys", headers, body), 400, INVALID_TYPE)
            # It comes before what is wrong with the body.
            self.answered(self.service.ask("POST", "/api-keys", headers, "{"), 400, INVALID_TYPE)
        self.answered(self.service.ask("POST", "/api-keys", [authorization, JSON], body), 400, NO_NAME)

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
        for path in [f"/api-keys?access_token={good}", f"/api-keys/authenticate?access_token={good}"]:
            self.assertIn(self.service.ask("GET", path).status, [400, 401])
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


class Tenants(Case):
    def test_the_first_line(self):
        line = self.service.first_line
        names = ["url", "token", "session", "tenant", "other_tenant", "archived_tenant", "foreign_tenant"]
        self.assertEqual(set(line), set(names))
        self.assertRegex(line["url"], r"http://127\.0\.0\.1:\d+/api")
        self.assertEqual([line[name] for name in names[3:]], [1, 2, 3, 4])
        extra = {"perms": PERMISSIONS, "tid": 1}
        self.answered(self.authenticate(line["token"]), 200, {"extra": extra})

    def test_another_tenants_keys(self):
        mine, _ = self.create(1)
        _, other = self.create(2, ["READ_API_KEYS", "WRITE_API_KEYS"])
        client = self.client(other)
        own, _ = self.create(2, client=client)
        data = client.list_api_keys().data
        self.assertEqual({key.tenant_id for key in data}, {2})
        self.assertIn(own, [key.id for key in data])
        for id in [mine, 10**6]:
            self.answered(self.ask("GET", f"/api-keys/{id}", token=other), 404, KEY_NOT_FOUND)
            self.answered(self.ask("DELETE", f"/api-keys/{id}", token=other), 404, NO_SUCH_KEY)
        self.answered(self.ask("POST", "/api-keys", self.wish(tenant_id=1), token=other), 403, FORBIDDEN)
        for query in ["tenant_id=1", "tenant_id=2&tenant_id=1", "tenant_id=99&tenant_id=4"]:
            self.answered(self.ask("GET", f"/api-keys?{query}", token=other), 403, FORBIDDEN)
        self.fails(exceptions.ForbiddenException, client.list_api_keys, tenant_id=1)
        # Nor with the cursor of somebody who may.
        link = self.ask("GET", "/api-keys?limit=1").json()["links"]["next"]
        path = link.removeprefix(self.service.url)
        self.answered(self.ask("GET", path, token=other), 400, INVALID_PARAMS)
        self.assertEqual(self.client().get_api_key(mine).id, mine)
        self.assertEqual(client.revoke_api_key(own).message, REVOKED["message"])

    def test_tenants_that_are_nobodys_here(self):
        seen = {key["id"] for key in self.all()}
        for id in range(1, max(seen)):
            status = self.ask("GET", f"/api-keys/{id}").status
            self.assertEqual(status, 200 if id in seen else 404)
        # The archived tenant's, and the foreign one's.
        for id in [1, 2]:
            self.answered(self.ask("GET", f"/api-keys/{id}"), 404, KEY_NOT_FOUND)
            self.answered(self.ask("DELETE", f"/api-keys/{id}"), 404, NO_SUCH_KEY)
        self.answered(self.ask("GET", "/api-keys?tenant_id=4"), 403, FORBIDDEN)
        self.answered(self.ask("GET", "/api-keys?tenant_id=3&tenant_id=1&tenant_id=4"), 403, FORBIDDEN)
        self.assertEqual(self.client().list_api_keys(tenant_id=3).data, [])


class Sessions(Case):
    def test_a_session_does_what_its_person_may(self):
        client = self.client(cookie=f"SID={self.session}")
        id, token = self.create(2, client=client)
        self.assertEqual(client.get_api_key(id).tenant_id, 2)
        self.assertEqual({key.tenant_id for key in client.list_api_keys().data}, {1, 2})
        self.fails(exceptions.ForbiddenException, client.list_api_keys, tenant_id=4)
        self.fails(exceptions.ForbiddenException, self.create, 4, client=client)
        self.fails(exceptions.NotFoundException, self.create, 3, client=client)
        self.assertEqual(client.revoke_api_key(id).message, REVOKED["message"])

    def test_the_bearer_wins(self):
        cookie = f"SID={self.session}"
        id, other = self.create(2, ["READ_API_KEYS"])
        both = self.client(other, cookie)
        self.assertEqual({key.tenant_id for key in both.list_api_keys().data}, {2})
        self.fails(exceptions.ForbiddenException, both.revoke_api_key, id)
        # Also one that isn't good.
        self.fails(exceptions.UnauthorizedException, self.client("nobody", cookie).list_api_keys)
        headers = [("Authorization", "Bearer "), ("Cookie", cookie)]
        self.answered(self.service.ask("GET", "/api-keys", headers), 401, UNAUTHORIZED)
        # A gateway asks for keys alone.
        answer = self.service.ask("GET", "/api-keys/authenticate", [("Cookie", cookie)])
        self.answered(answer, 400, NO_AUTHORIZATION)

    def test_cookies_of_all_sorts(self):
        good = self.session
        for cookie in [
            f"SID={good}", f"a=b; SID={good}; c", f"SID={good};SID=x", f"SID=x; SID={good}", f"  SID={good}  ",
        ]:  # fmt: skip
            self.assertEqual(self.service.ask("GET", "/api-keys", [("Cookie", cookie)]).status, 200, cookie)
        for cookie in [
            "", "SID", "SID=", "SID=x", good, f"sid={good}", f"SIDE={good}", f"SID ={good}", f"SID={good}x",
            f"SID={good[:-1]}", f"SID={good.upper()}", f"XSID={good}", f"SID={self.token}", f'SID="{good}"', b"SID=\xff",
            "SID=" + "x" * 65_536, f"ory_kratos_session={good}",
        ]:  # fmt: skip
            answer = self.service.ask("GET", "/api-keys", [("Cookie", cookie)])
            self.answered(answer, 401, UNAUTHORIZED)
        self.refused(self.service.ask("GET", "/api-keys", [("Authorization", f"Bearer {good}")]), 401, good)
        self.refused(self.service.ask("GET", f"/api-keys?SID={good}"), 401, good)


class Expiry(Case):
    def short_lived(self, **more):
        """A key that ends soon: as soon as the machine makes it."""
        seconds = 1
        while True:
            try:
                return self.create(expiration_date=now() + timedelta(seconds=seconds), **more)
            except exceptions.BadRequestException as error:
                # The machine was slower.
                self.assertEqual(json.loads(error.body), PAST)
                seconds *= 2

    def outlive(self, token):
        """Asks until the key is refused. What it is answered before is that it is good."""
        while (answer := self.ask("GET", "/api-keys?limit=1", token=token)).status != 401:
            self.assertEqual(answer.status, 200)
        self.answered(answer, 401, UNAUTHORIZED)

    def test_a_key_that_is_met_after_its_end_goes_away(self):
        for meet in ["get", "authenticate"]:
            id, token = self.short_lived(name=f"short, {meet}", permissions=["READ_API_KEYS"])
            self.outlive(token)
            # Nobody has met it by its number or at the gateway: its name is still taken.
            self.assertIn(id, [key["id"] for key in self.all(1)])
            wish = self.wish(name=f"short, {meet}")
            self.answered(self.ask("POST", "/api-keys", wish), 400, NAME_TAKEN)
            if meet == "get":
                self.answered(self.ask("GET", f"/api-keys/{id}"), 404, KEY_NOT_FOUND)
            else:
                self.answered(self.authenticate(token), 401, {})
            self.assertNotIn(id, [key["id"] for key in self.all(1)])
            self.answered(self.ask("DELETE", f"/api-keys/{id}"), 404, NO_SUCH_KEY)
            self.answered(self.authenticate(token), 401, {})
            self.assertEqual(self.ask("POST", "/api-keys", wish).status, 201)

    def test_an_expired_key_can_be_revoked(self):
        id, token = self.short_lived(permissions=["READ_API_KEYS"])
        self.outlive(token)
        self.answered(self.ask("DELETE", f"/api-keys/{id}"), 200, REVOKED)
        self.answered(self.ask("DELETE", f"/api-keys/{id}"), 404, NO_SUCH_KEY)


class Restart(Case):
    def test_all_is_as_it_was(self):
        first = dict(self.service.first_line)
        end = now() + timedelta(days=1)
        kept, token = self.create(2, ["READ_API_KEYS", "WRITE_API_KEYS"], expiration_date=end)
        revoked, dead = self.create(1)
        self.client().revoke_api_key(revoked)
        before = self.ask("GET", "/api-keys").json()
        page = self.ask("GET", "/api-keys?limit=1").json()["links"]["next"]
        alive = self.authenticate(token).json()
        self.service.restart()
        line = self.service.first_line
        # A token is shown once.
        self.assertEqual(line, {**first, "url": line["url"], "token": None})
        self.assertEqual(self.ask("GET", "/api-keys", token=first["token"]).json(), before)
        self.answered(self.authenticate(token), 200, alive)
        self.answered(self.authenticate(dead), 401, {})
        self.answered(self.ask("GET", f"/api-keys/{revoked}", token=first["token"]), 404, KEY_NOT_FOUND)
        # A cursor from before, and a session.
        path = page.removeprefix(first["url"])
        self.assertEqual(self.ask("GET", path, token=first["token"]).status, 200)
        client = self.client(cookie=f"SID={line['session']}")
        self.assertEqual(client.get_api_key(kept).tenant_id, 2)
        # Numbers go on, names stay taken.
        wish = self.wish(name=before["data"][0]["name"], tenant_id=before["data"][0]["tenant_id"])
        self.answered(self.ask("POST", "/api-keys", wish, token=token), 400, NAME_TAKEN)
        self.assertEqual(self.ask("POST", "/api-keys", self.wish(tenant_id=2), token=token).status, 201)
        newest = client.list_api_keys().data[0].id
        self.assertEqual(newest, revoked + 1)
