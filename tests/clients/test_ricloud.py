"""The example `ricloud`, asked by the client `ricloud` 3.2.0, and by plain HTTP where that can't."""

import concurrent.futures
import json
import re
import subprocess
import time

import ricloud
from ricloud import Key, Organisation, StorageConfig, WebhookConfig
from ricloud.exceptions import RequestError

import service
from service import PATIENCE, ServiceCase

FIELDS = {
    "id", "resource", "organisation", "type", "config", "storage_config", "webhook_config",
    "scopes", "token", "state", "date_created", "date_expires",
}
SCOPES = ["keys:read", "keys:write", "configs:read"]
TRIAL_SCOPES = [*SCOPES, "source_type:icloud.account"]
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")


class Case(ServiceCase):
    SERVICE = "ricloud"

    def setUp(self):
        self.use(self.service.first_line["token"])

    def use(self, token):
        """The client calls with this token from now on."""
        ricloud.url, ricloud.token = self.service.url, token

    @property
    def other_token(self):
        return self.service.first_line["other_token"]

    def ask(self, method, path, body=None, token=None, headers=()):
        token = ricloud.token if token is None else token
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        return self.service.ask(method, path, [("Authorization", f"Token {token}"), *headers], body)

    def rotate(self, id, **parameters):
        """The client raises after each rotation that succeeded: it takes its pair of body and
        status for a dictionary. So the new token is read by a call of its own."""
        with self.assertRaises((ValueError, TypeError)):
            Key.rotate_with_id(id, **parameters)
        return Key.retrieve(id).token

    def accepted(self, token):
        return self.ask("GET", "/key", token=token).status == 200

    def fails(self, status, error, call, *arguments, **parameters):
        """The client raises its own exception, of this status and slug."""
        with self.assertRaises(RequestError) as caught:
            call(*arguments, **parameters)
        self.assertEqual((caught.exception.status, caught.exception.error), (status, error))
        self.assertTrue(caught.exception.message)
        return caught.exception

    def assert_key(self, key):
        self.assertEqual(set(key), FIELDS)
        self.assertEqual(key["resource"], "key")
        self.assertIs(type(key["id"]), int)
        self.assertIs(type(key["organisation"]), int)
        self.assertRegex(key["date_created"], DATE)


class Calls(Case):
    """What each call does, when it is asked as it should be."""

    def test_create_with_nothing(self):
        key = Key.create()
        self.assert_key(key)
        self.assertEqual((key.type, key.state, key.date_expires), ("standard", "active", None))
        # The organisation's.
        self.assertEqual((key.storage_config, key.webhook_config, key.config), (1, 2, {}))
        self.assertEqual(key.scopes, SCOPES)
        self.assertTrue(self.accepted(key.token))
        answer = self.ask("POST", "/keys", {})
        self.assertEqual(answer.status, 201)
        self.assertEqual(answer.json()["id"], key.id + 1)

    def test_create_with_all_that_there_is(self):
        storage = StorageConfig.retrieve(2)
        self.assertEqual((storage.id, storage.resource), (2, "storage_config"))
        config = {"publish_source_files": True}
        key = Key.create(storage_config=storage, webhook_config=3, config=config)
        self.assertEqual((key.storage_config, key.webhook_config, key.config), (2, 3, config))
        self.assertEqual(Key.retrieve(key.id).attrs, key.attrs)

    def test_configs(self):
        for id in [1, 2, 3]:
            self.assertEqual(StorageConfig.retrieve(id).id, id)
            webhook = WebhookConfig.retrieve(id)
            self.assertEqual((webhook.id, webhook.resource), (id, "webhook_config"))
        self.fails(404, "not-found", StorageConfig.retrieve, 4)
        self.fails(404, "not-found", WebhookConfig.retrieve, "none")

    def test_the_organisation_has_defaults_and_base_permissions(self):
        organisation = Organisation.retrieve()
        self.assertEqual((organisation.id, organisation.resource), (1, "organisation"))
        defaults = (organisation.storage_config_default, organisation.webhook_config_default)
        self.assertEqual(defaults, (1, 2))
        self.assertEqual(organisation.permissions.scopes, {scope: [] for scope in SCOPES})
        self.use(self.other_token)
        organisation = Organisation.retrieve()
        defaults = (organisation.storage_config_default, organisation.webhook_config_default)
        self.assertEqual((organisation.id, *defaults), (2, None, None))
        key = Key.create()
        self.assertEqual((key.storage_config, key.webhook_config), (None, None))

    def test_the_docs_content_type_is_taken_too(self):
        kind = [("Content-Type", "application/json")]
        answer = self.ask("POST", "/keys", {"webhook_config": 1}, headers=kind)
        self.assertEqual((answer.status, answer.json()["webhook_config"]), (201, 1))

    def test_retrieve_and_refresh(self):
        key = Key.retrieve(Key.create(storage_config=1).id)
        Key.update_with_id(key.id, storage_config=2)
        self.assertEqual(key.storage_config, 1)
        key.refresh()
        self.assertEqual(key.storage_config, 2)

    def test_update_names_what_it_changes(self):
        key = Key.create(storage_config=3, webhook_config=1, config={"publish_source_files": True})
        key.update(webhook_config=WebhookConfig(id=2))
        self.assertEqual((key.storage_config, key.webhook_config), (3, 2))
        key.update(storage_config=None)
        self.assertEqual((key.storage_config, key.webhook_config), (1, 2))
        key.update()
        self.assertEqual(key.config, {"publish_source_files": True})
        key.update(config={"publish_source_files": False})
        self.assertEqual(key.config, {"publish_source_files": False})
        key.update(config=None)
        self.assertEqual(key.config, {})
        self.assertEqual(Key.retrieve(key.id).attrs, key.attrs)
        self.assertEqual(Key.update_with_id(key.id, storage_config=3).token, key.token)

    def test_current(self):
        # The client puts the answer into an attribute of its own.
        key = Key.current()["attrs"]
        self.assert_key(key)
        self.assertEqual(key["token"], ricloud.token)
        self.assertEqual(key.attrs, Key.retrieve(key["id"]).attrs)

    def test_a_key_acts_for_its_whole_organisation(self):
        first = ricloud.token
        made = Key.create()
        self.use(made.token)
        self.assertEqual(Key.current()["attrs"]["id"], made.id)
        second = Key.create()
        self.use(first)
        self.assertEqual(Key.retrieve(second.id).token, second.token)

    def test_a_head_has_no_body(self):
        answer = self.ask("HEAD", "/keys")
        self.assertEqual((answer.status, answer.body), (200, b""))


class Rotation(Case):
    def test_both_tokens_are_good(self):
        key = Key.create(storage_config=2)
        token = self.rotate(key.id)
        self.assertNotEqual(token, key.token)
        self.assertTrue(self.accepted(key.token) and self.accepted(token))
        # The key is the same except for its token.
        self.assertEqual({**Key.retrieve(key.id).attrs, "token": key.token}, key.attrs)

    def test_force_ends_every_previous_token(self):
        key = Key.create()
        tokens = [key.token, self.rotate(key.id), self.rotate(key.id, force=False)]
        self.assertEqual([self.accepted(token) for token in tokens], [True] * 3)
        last = self.rotate(key.id, force=True)
        self.assertEqual([self.accepted(token) for token in tokens], [False] * 3)
        self.assertTrue(self.accepted(last))
        self.assertEqual(Key.retrieve(key.id).token, last)

    def test_an_previous_token_manages_in_its_grace(self):
        key = Key.create()
        self.use(key.token)
        first = self.rotate(key.id)
        second = self.rotate(key.id)
        self.assertTrue(self.accepted(first) and self.accepted(second))
        self.assertEqual(Key.current()["attrs"]["token"], second)

    def test_the_answer_has_the_new_token(self):
        key = Key.create()
        # Without a body, as the documented command.
        for body in [None, {}, {"force": False}, {"force": True}]:
            answer = self.ask("POST", f"/keys/{key.id}/rotate", body)
            self.assertEqual(answer.status, 200)
            self.assert_key(answer.json())
            self.assertEqual(answer.json(), dict(Key.retrieve(key.id)))

    def test_a_key_that_is_not_good_now(self):
        states = {key.state: key.id for key in Key.list(limit=1000)}
        dead = self.service.first_line["dead_tokens"]
        self.fails(403, "missing-scope", Key.rotate_with_id, states["blocked"])
        self.fails(409, "conflict", Key.rotate_with_id, states["expired"], force=True)
        # The owner's own switch is no obstacle, and stays.
        token = self.rotate(states["deactivated"])
        self.assertFalse(self.accepted(token))
        self.assertEqual([self.accepted(token) for token in dead], [False] * 3)


class Lists(Case):
    """In an organisation of its own service: what is made here is all that there is."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        ricloud.url, ricloud.token = cls.service.url, cls.service.first_line["token"]
        cls.made = [Key.create() for _ in range(25)]
        # Newest first; 1, 3, 4 and 5 are the demonstration's.
        cls.ids = [key.id for key in reversed(cls.made)] + [5, 4, 3, 1]

    def page(self, **query):
        page = Key.list(**query)
        for key in page:
            self.assert_key(key)
        self.assertEqual((page.resource, page.url), ("list", "/keys"))
        return [key.id for key in page], page.has_more, page.total_count

    def test_ten_unless_told(self):
        self.assertEqual(self.page(), (self.ids[:10], True, 29))
        self.assertEqual([key.token for key in Key.list()], [key.token for key in self.made[:-11:-1]])

    def test_pages_to_the_end(self):
        for limit in [1, 7, 28, 29, 30]:
            seen, more = [], True
            query = {}
            while more:
                ids, more, total = self.page(limit=limit, **query)
                seen += ids
                query = {"after_id": seen[-1]}
                self.assertEqual(total, 29)
                self.assertEqual(more, len(seen) < 29)
            self.assertEqual(seen, self.ids)

    def test_limits(self):
        self.assertEqual(self.page(limit=1000), (self.ids, False, 29))
        self.assertEqual(self.page(limit=10**30), (self.ids, False, 29))
        for limit in [0, -1, "ten", "1.5", "", " 1", "0x10", "True", "٣"]:
            self.assertIn("limit", self.fails(400, "invalid-parameter", Key.list, limit=limit).params)

    def test_between_two_keys(self):
        ids = self.ids
        self.assertEqual(self.page(after_id=ids[3], before_id=ids[6]), (ids[4:6], False, 29))
        self.assertEqual(self.page(after_id=ids[-1]), ([], False, 29))
        self.assertEqual(self.page(before_id=ids[0]), ([], False, 29))
        self.assertEqual(self.page(after_id=ids[6], before_id=ids[3]), ([], False, 29))
        self.assertEqual(self.page(before_id=ids[5], limit=5), (ids[:5], False, 29))
        self.assertEqual(self.page(before_id=ids[5], limit=4), (ids[:4], True, 29))
        self.assertEqual(self.page(after_id=ids[0], limit=1)[0], [ids[1]])

    def test_filters(self):
        self.assertEqual(self.page(state="deactivated"), ([3], False, 1))
        self.assertEqual(self.page(state="blocked"), ([4], False, 1))
        self.assertEqual(self.page(state="expired"), ([5], False, 1))
        self.assertEqual(self.page(type="trial"), ([5], False, 1))
        self.assertEqual(self.page(type="trial", state="active"), ([], False, 0))
        self.assertEqual(self.page(type="standard", state="active", limit=26)[1:], (False, 26))
        trial = Key.list(type="trial")[0]
        self.assertEqual(trial.scopes, TRIAL_SCOPES)
        self.assertRegex(trial.date_expires, DATE)
        self.assertLess(trial.date_created, trial.date_expires)

    def test_the_last_of_a_filter_has_no_more(self):
        # Keys that the filter leaves out come after it.
        self.assertEqual(self.page(state="blocked", limit=1), ([4], False, 1))
        self.assertEqual(self.page(type="standard", state="active", limit=25)[1:], (True, 26))

    def test_bad_queries(self):
        for query in [
            {"type": "special"}, {"state": "revoked"}, {"state": ""}, {"after_id": "x"},
            {"before_id": 0}, {"after_id": -1}, {"after_id": 2**63}, {"before_id": 10**6},
            # Another organisation's.
            {"after_id": 2}, {"page": 2},
        ]:
            caught = self.fails(400, "invalid-parameter", Key.list, **dict(query))
            self.assertEqual(set(caught.params), set(query))
        both = self.fails(400, "invalid-parameter", Key.list, limit="x", state="y")
        self.assertEqual(set(both.params), {"limit", "state"})
        for query in ["limit=1&limit=2", "limit=%FF", "limit", "%00=%00", "cursor=made-up"]:
            self.refused(self.ask("GET", f"/keys?{query}"), 400)


class FirstLine(Case):
    def test_the_demonstration(self):
        line = self.service.first_line
        self.assertEqual(set(line), {"url", "token", "other_token", "dead_tokens"})
        self.assertEqual(len(line["dead_tokens"]), 3)
        self.assertEqual([key.id for key in Key.list()], [5, 4, 3, 1])
        states = [key.state for key in Key.list(limit=3, after_id=5)]
        self.assertEqual(states, ["blocked", "deactivated", "active"])
        by_state = {key.state: key.token for key in Key.list()}
        dead = [by_state[state] for state in ["deactivated", "blocked", "expired"]]
        self.assertEqual(line["dead_tokens"], dead)


class Owners(Case):
    def test_another_organisations_keys_are_not_found(self):
        mine = Key.create(storage_config=1)
        self.use(self.other_token)
        theirs = Key.current()["attrs"]
        self.assertNotEqual(theirs["organisation"], mine.organisation)
        unknown = self.fails(404, "not-found", Key.retrieve, 10**9)
        for call, parameters in [
            (Key.retrieve, {}),
            (Key.update_with_id, {"storage_config": None}),
            (Key.rotate_with_id, {"force": True}),
        ]:
            caught = self.fails(404, "not-found", call, mine.id, **parameters)
            # Like one that doesn't exist, to the letter.
            self.assertEqual(caught.content, unknown.content)
        self.assertNotIn(mine.id, [key.id for key in Key.list(limit=1000)])
        self.assertEqual(Key.list(type="trial").total_count, 0)
        self.use(self.service.first_line["token"])
        self.assertEqual(Key.retrieve(mine.id).attrs, mine.attrs)


class TooMany(Case):
    def test_an_organisation_has_a_greatest_number_of_keys(self):
        self.use(self.other_token)
        there = Key.list().total_count
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            calls = [pool.submit(self.ask, "POST", "/keys", {}) for _ in range(1000 - there)]
            answers = [call.result() for call in calls]
        self.assertEqual({answer.status for answer in answers}, {201})
        ids = [answer.json()["id"] for answer in answers]
        self.assertEqual(len(set(ids)), len(ids))
        self.fails(403, "limit-exceeded", Key.create)
        page = Key.list(limit=5000)
        self.assertEqual((len(page), page.has_more, page.total_count), (1000, False, 1000))
        page = Key.list(limit=999)
        self.assertEqual((len(page), page.has_more), (999, True))
        # The other organisation's are none of these.
        self.use(self.service.first_line["token"])
        Key.create()


class Administrator(Case):
    """An administrator's commands, by a process beside the service."""

    def run_example(self, *arguments):
        command = [service.EXAMPLES / "ricloud", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)

    def admin(self, *words):
        done = self.run_example("--db", self.service.database, "admin", *words)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        keys = [json.loads(line) for line in done.stdout.splitlines()]
        for key in keys:
            self.assertEqual(set(key) | {"token"}, FIELDS)
        return keys

    def becomes(self, accepted, token):
        """The service hears of it at its next poll, seconds later at most; a machine may be slow."""
        until = time.monotonic() + PATIENCE
        while self.accepted(token) != accepted and time.monotonic() < until:
            time.sleep(0.05)
        self.assertEqual(self.accepted(token), accepted)

    def test_switches(self):
        key = Key.create()
        for words, state in [
            (["block", str(key.id), "its token was found in public"], "blocked"),
            (["unblock", str(key.id)], "active"),
            (["deactivate", str(key.id)], "deactivated"),
            (["activate", str(key.id)], "active"),
        ]:
            [shown] = self.admin(*words)
            self.assertEqual((shown["id"], shown["state"]), (key.id, state))
            self.assertNotIn("token", shown)
            self.becomes(state == "active", key.token)
            self.assertEqual(Key.retrieve(key.id).state, state)

    def test_a_trial_may_do_more(self):
        [trial] = self.admin("trial", "1", "14")
        self.assertEqual((trial["type"], trial["scopes"]), ("trial", TRIAL_SCOPES))
        self.becomes(True, trial["token"])
        self.assertEqual(self.ask("GET", "/sources", token=trial["token"]).status, 200)
        body = self.refused(self.ask("GET", "/sources"), 403)
        self.assertEqual(body["error"], "missing-scope")
        self.assertEqual(dict(Key.retrieve(trial["id"])), trial)

    def test_lists_and_defaults(self):
        ids = [key["id"] for key in self.admin("list")]
        self.assertEqual(ids, sorted(ids, reverse=True))
        self.assertEqual([key["id"] for key in self.admin("list", "2")], [2])
        own = {key["id"]: key["state"] for key in self.admin("list", "1")}
        self.assertEqual({id: own[id] for id in [1, 3, 4, 5]},
                         {1: "active", 3: "deactivated", 4: "blocked", 5: "expired"})
        [shown] = self.admin("defaults", "2", "3", "none")
        self.assertEqual((shown["storage_config"], shown["webhook_config"]), (3, None))
        self.use(self.other_token)
        until = time.monotonic() + PATIENCE
        while Organisation.retrieve().storage_config_default != 3 and time.monotonic() < until:
            time.sleep(0.05)
        self.assertEqual(Key.current()["attrs"]["storage_config"], 3)

    def test_commands_that_are_not_done(self):
        for words in [["admin"], ["admin", "revoke", "1"], ["admin", "block", "999"], ["block", "1"]]:
            done = self.run_example("--db", self.service.database, *words)
            self.assertEqual((done.returncode, done.stdout), (1, ""), words)
            self.assertTrue(done.stderr and "panicked" not in done.stderr, done.stderr)
        nowhere = self.service.database.with_name("other.db")
        for arguments in [[], ["--db", nowhere]]:
            done = self.run_example(*arguments, "admin", "list")
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("that the service has filled", done.stderr)
        self.assertFalse(nowhere.exists())

    def test_help_tells_of_them(self):
        told = self.run_example("--help")
        self.assertEqual((told.returncode, told.stderr), (0, ""))
        for command in ["list", "trial", "block", "unblock", "deactivate", "activate", "defaults"]:
            self.assertIn(f"  admin {command}", told.stdout)


class Restart(Case):
    def test_all_is_as_it_was(self):
        line = dict(self.service.first_line)
        key = Key.create(storage_config=1, config={"publish_source_files": True})
        new = self.rotate(key.id)
        ended = Key.create()
        self.rotate(ended.id, force=True)
        before = self.ask("GET", "/keys?limit=1000").json()
        self.service.restart()
        self.assertEqual({**self.service.first_line, "url": line["url"]}, line)
        self.use(new)
        self.assertEqual(self.ask("GET", "/keys?limit=1000").json(), before)
        self.assertTrue(self.accepted(key.token), "the previous token in its grace")
        self.assertFalse(self.accepted(ended.token))
        self.assertEqual([self.accepted(token) for token in line["dead_tokens"]], [False] * 3)
        # Numbers go on, and a rotation from before can be ended.
        self.assertEqual(Key.create().id, ended.id + 1)
        self.use(line["token"])
        newest = self.rotate(key.id, force=True)
        self.assertEqual([self.accepted(token) for token in [key.token, new, newest]], [False, False, True])

    def test_the_first_lines_token_is_the_current_one(self):
        # By another key: with force, a key that rotates itself isn't let in to read its new token.
        own = Key.current()["attrs"]["id"]
        self.use(Key.create().token)
        token = self.rotate(own, force=True)
        self.service.restart()
        self.assertEqual(self.service.first_line["token"], token)
        self.use(token)
        Key.current()


class NotLetIn(Case):
    PATHS = [
        ("GET", "/key"), ("GET", "/keys"), ("POST", "/keys"), ("GET", "/keys/1"), ("POST", "/keys/1"),
        ("POST", "/keys/1/rotate"), ("GET", "/configs/storage/1"), ("GET", "/configs/webhook/1"),
        ("GET", "/organisation"), ("GET", "/sources"), ("GET", "/keys/unknown"), ("GET", "/nothing"),
        ("DELETE", "/keys/1"),
    ]

    def test_nothing_is_open(self):
        for method, path in self.PATHS:
            body = self.refused(self.service.ask(method, path), 401)
            self.assertEqual(body["error"], "unauthorized")
            self.assertTrue(body["message"])

    def test_tokens_that_are_not_good(self):
        good = ricloud.token
        last = "a" if good[-1] != "a" else "b"
        secret = good[:40] + ("a" if good[40] != "a" else "b") + good[41:]
        bodies = set()
        for token in [
            *self.service.first_line["dead_tokens"], "nobody", good[:-1], good + "a", good[:-1] + last,
            secret, good.upper(), good.replace("ricloud", "other"), "x" * 65_536, f"{good},{good}",
            f"{good} {good}",
        ]:
            answer = self.ask("GET", "/key", token=token)
            self.refused(answer, 401, token)
            self.assertEqual(answer.headers["www-authenticate"], ['Token realm="api", error="invalid_token"'])
            bodies.add(answer.body)
        self.assertEqual(len(bodies), 1, "whoever has no good token is told the same")
        self.use("")
        self.fails(401, "unauthorized", Key.list)
        self.use(self.service.first_line["dead_tokens"][0])
        self.fails(401, "unauthorized", Key.create)

    def test_headers_of_all_sorts(self):
        good = ricloud.token
        for value in [
            b"", b"Token", b"Token ", good.encode(), b"Bearer " + good.encode(), b"Token\t" + good.encode(),
            b"Basic " + b"x" * 70_000, b"Token \xff\xfe\x80", "Token päßword".encode(), b"\xff",
            b"Token=" + good.encode(),
        ]:
            self.refused(self.service.ask("GET", "/key", [("Authorization", value)]), 401, good)
        twice = [("Authorization", f"Token {good}")] * 2
        self.refused(self.service.ask("GET", "/key", twice), 400, good)
        mixed = [("Authorization", f"Token {good}"), ("Authorization", "Bearer x")]
        self.refused(self.service.ask("GET", "/key", mixed), 400, good)
        self.refused(self.service.ask("GET", f"/key?token={good}"), 401, good)
        # A scheme's case doesn't matter, nor do blanks around the token.
        for value in [f"token {good}", f"TOKEN   {good}  "]:
            self.assertEqual(self.service.ask("GET", "/key", [("Authorization", value)]).status, 200)


class BadInput(Case):
    CALLS = ["/keys", "/keys/1", "/keys/1/rotate"]

    def test_bodies_that_are_not_json(self):
        deep = "[" * 100_000
        for body in [
            None, "", " ", "{", "}", '{"storage_config": 2,}', "{'storage_config': 2}", "storage_config=2",
            b"\xff\xfe", b'{"storage_config": "\xff"}', b"\xef\xbb\xbf{}", "{} {}", "NaN",
            '{"config": {"publish_source_files": tru}}', '{"storage_config": 1e999}', deep, '{"a":' * 30_000,
            "[" * 200 + "]" * 200, '{"a":' * 200 + "1" + "}" * 200, "\x00",
        ]:
            # A rotation needs no body.
            for path in self.CALLS if body else self.CALLS[:2]:
                answer = self.ask("POST", path, body)
                status = 413 if body is not None and len(body) > 65_536 else 400
                self.assertEqual(self.refused(answer, status)["error"], "invalid-body")

    def test_the_printed_command_is_told_where_its_comma_is(self):
        answer = self.ask("POST", "/keys", '{\n  "storage_config": 2,\n}')
        message = "The request body is not valid JSON: trailing comma at line 3 column 1."
        self.assertEqual(self.refused(answer, 400), {"error": "invalid-body", "message": message})

    def test_bodies_that_are_no_object(self):
        for body in ["null", "[]", "1", '"x"', "true", "[{}]", '[["storage_config", 1]]']:
            for path in self.CALLS:
                self.assertEqual(self.refused(self.ask("POST", path, body), 400)["error"], "invalid-body")

    def test_bodies_that_are_too_large(self):
        for size in [65_537, 1_000_000, 3_000_000]:
            body = json.dumps({"x": "y" * size})
            for path in self.CALLS:
                self.assertEqual(self.refused(self.ask("POST", path, body), 413)["error"], "invalid-body")

    def test_parameters_of_wrong_types(self):
        before = Key.retrieve(1).attrs
        wrong_ids = [0, 4, -1, 2**63, 2**64, 10**40, "1", 1.5, 1.0, True, [], [1], {}, {"id": 1}]
        wrong_configs = [
            1, "x", True, [], {"other": 1}, {"resource": "nonsense"}, {"publish_source_files": 1},
            {"publish_source_files": "yes"}, {"publish_source_files": True, "other": None},
        ]
        for name, values in [
            ("storage_config", wrong_ids),
            ("webhook_config", wrong_ids),
            ("config", wrong_configs),
            ("id", [1]), ("state", ["active"]), ("type", ["trial"]), ("token", ["mine"]), ("", [1]),
        ]:
            for value in values:
                for call in [lambda **p: Key.create(**p), lambda **p: Key(id=1).update(**p)]:
                    if name:
                        caught = self.fails(400, "invalid-parameter", call, **{name: value})
                        self.assertEqual(list(caught.params), [name])
                        self.assertTrue(all(caught.params[name]))
                answer = self.ask("POST", "/keys", {name: value, "storage_config": 9})
                self.assertEqual(set(self.refused(answer, 400)["params"]), {name, "storage_config"})
        for force in ["true", 1, 0, None, [], {}]:
            self.fails(400, "invalid-parameter", Key.rotate_with_id, 1, force=force)
        self.fails(400, "invalid-parameter", Key.rotate_with_id, 1, forced=True)
        self.assertEqual(Key.retrieve(1).attrs, before, "nothing was done")

    def test_a_fault_leaves_all_parameters_undone(self):
        key = Key.create()
        self.fails(400, "invalid-parameter", key.update, storage_config=1, webhook_config=9)
        key.refresh()
        self.assertEqual((key.storage_config, key.webhook_config), (1, 2))

    def test_ids_that_are_nobodys(self):
        for id in [
            "0", "-1", "+1", "01", "1.0", "1e0", "x", "%31%20", "9223372036854775807", "9223372036854775808",
            "18446744073709551617", "9" * 5000, "%FF", "%00", "..", "1%2F2", "%2e%2e", "null", "1;2", "",
        ]:
            self.refused(self.ask("GET", f"/keys/{id}"), 404)
            self.refused(self.ask("POST", f"/keys/{id}", {}), 404)
            self.refused(self.ask("POST", f"/keys/{id}/rotate", {}), 404)
            self.refused(self.ask("GET", f"/configs/storage/{id}"), 404)
        self.fails(404, "not-found", Key.retrieve, 10**9)

    def test_paths_and_methods_that_are_not_there(self):
        for path in ["/", "", "/key/1", "/keys/1/rotate/now", "/keys/", "/v1/keys", "/configs/storage"]:
            self.assertEqual(self.refused(self.ask("GET", path), 404)["error"], "not-found")
        for method, path, allowed in [
            ("DELETE", "/keys/1", {"GET", "HEAD", "POST"}),
            ("PUT", "/keys/1", {"GET", "HEAD", "POST"}),
            ("PATCH", "/keys", {"GET", "HEAD", "POST"}),
            ("GET", "/keys/1/rotate", {"POST"}),
            ("POST", "/key", {"GET", "HEAD"}),
            ("BREW", "/key", {"GET", "HEAD"}),
        ]:
            answer = self.ask(method, path)
            self.assertEqual(self.refused(answer, 405)["error"], "method-not-allowed")
            self.assertEqual(set(answer.headers["allow"][0].split(",")), allowed)
