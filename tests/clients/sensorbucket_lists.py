"""Pages of SensorBucket's keys."""

import concurrent.futures
import urllib.parse

from sensorbucket import exceptions

from sensorbucket_case import Case, DATE, INVALID_PARAMS
from service import Service


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
        # Fractions are as short as they can be, so texts don't sort as their moments do.
        moment = lambda text: text.rstrip("Z").partition(".")[::2]
        order = lambda key: (moment(key["created"])[0], moment(key["created"])[1].ljust(3, "0"), key["id"])
        self.assertEqual(data, sorted(data, key=order, reverse=True))
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
        query = "tenant_id=1&tenant_id=2&limit=5"
        # And nothing else: a token doesn't belong there, and isn't repeated.
        first = self.ask("GET", f"/api-keys?access_token={self.token}&{query}&x=a%20b%2B%26")
        self.assertNotIn(self.token.encode(), first.body)
        first = first.json()
        link = first["links"]["next"]
        # Relative: the service doesn't know by which address its clients reach it.
        self.assertTrue(link.startswith("/api/api-keys?"), link)
        pairs = urllib.parse.parse_qsl(urllib.parse.urlsplit(link).query, strict_parsing=True)
        cursor = dict(pairs)["cursor"]
        self.assertEqual(pairs[:-1], urllib.parse.parse_qsl(query))
        self.assertRegex(cursor, r"[0-9A-Za-z_-]+")
        seen = [key["id"] for key in first["data"]]
        while link:
            self.assertEqual(link.count("cursor="), 1)
            page = self.ask("GET", link.removeprefix("/api")).json()
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

    def test_as_many_tenants_as_a_list_has(self):
        def query(count):
            return "&".join(f"tenant_id={id}" for id in [2, *range(100, 99 + count), 2])

        answer = self.ask("GET", f"/api-keys?{query(64)}")
        self.assertEqual([key["id"] for key in answer.json()["data"]], self.made)
        for count in [65, 300, 4_000]:
            self.answered(self.ask("GET", f"/api-keys?{query(count)}"), 400, INVALID_PARAMS)


class Public(Case):
    """Links of a service that knows its public URL."""

    @classmethod
    def setUpClass(cls):
        cls.service = Service(cls.SERVICE, "--public-url", "https://sensors.example/v2/")
        cls.addClassCleanup(cls.service.__exit__)
        cls.service.start()

    def test_links_follow_it(self):
        made = [self.create(2)[0] for _ in range(3)][::-1]
        for host in ["elsewhere.example", "sensors.example"]:
            # Besides the one that the connection sends.
            page = self.ask("GET", "/api-keys?tenant_id=2&limit=2", headers=[("X-Forwarded-Host", host)])
            link = page.json()["links"]["next"]
            start = "https://sensors.example/v2/api-keys?tenant_id=2&limit=2&cursor="
            self.assertTrue(link.startswith(start), link)
        pages = self.client().list_api_keys_gen(tenant_id=2, limit=2)
        self.assertEqual([key.id for page in pages for key in page.data], made)


class Full(Case):
    def test_default_and_greatest_page(self):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: self.ask("POST", "/api-keys", self.wish(tenant_id=2)), range(1010)))
        self.assertEqual({answer.status for answer in answers}, {201})
        def sizes(**query):
            return [page.page_size for page in self.client().list_api_keys_gen(tenant_id=2, **query)]

        self.assertEqual(sizes(), [100] * 10 + [10])
        self.assertEqual(sizes(limit=5000), [1000, 10])
        seen = [key.id for page in self.client().list_api_keys_gen(tenant_id=2) for key in page.data]
        self.assertEqual((len(seen), len(set(seen))), (1010, 1010))
