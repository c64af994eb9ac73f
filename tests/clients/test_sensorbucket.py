"""The example `sensorbucket`, asked by the client `sensorbucket` 1.2.5, and by plain HTTP where that
can't."""

import concurrent.futures
import json
from datetime import datetime, timedelta, timezone

from sensorbucket import exceptions

from sensorbucket_case import (
    Case, DATE, FORBIDDEN, INVALID_PARAMS, KEY_NOT_FOUND, NAME_TAKEN, NO_AUTHORIZATION, NO_SUCH_KEY,
    PAST, PERMISSIONS, REVOKED, UNAUTHORIZED, now,
)  # fmt: skip

# The runner looks here for the tests.
from sensorbucket_lists import Full, Lists, Public
from sensorbucket_refusals import NotLetIn, Refusals


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
        # Nor with the cursor of a caller that may.
        link = self.ask("GET", "/api-keys?limit=1").json()["links"]["next"]
        path = link.removeprefix("/api")
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
            # No caller has met it by its number or at the gateway: its name is still taken.
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
        path = page.removeprefix("/api")
        self.assertEqual(self.ask("GET", path, token=first["token"]).status, 200)
        client = self.client(cookie=f"SID={line['session']}")
        self.assertEqual(client.get_api_key(kept).tenant_id, 2)
        # Numbers go on, names stay taken.
        wish = self.wish(name=before["data"][0]["name"], tenant_id=before["data"][0]["tenant_id"])
        self.answered(self.ask("POST", "/api-keys", wish, token=token), 400, NAME_TAKEN)
        self.assertEqual(self.ask("POST", "/api-keys", self.wish(tenant_id=2), token=token).status, 201)
        newest = client.list_api_keys().data[0].id
        self.assertEqual(newest, revoked + 1)
