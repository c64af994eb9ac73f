"""What the tests of the example `sensorbucket` have alike: its answers word for word, the client, and
plain HTTP."""

import json
import re
import urllib.parse
from datetime import datetime, timezone

import sensorbucket

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
