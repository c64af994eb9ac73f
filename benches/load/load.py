#!/usr/bin/env python3
"""How examples/axum_service bears load on loopback, with verification and without.

`python3 benches/load/load.py` builds the example in release, starts it on a fresh database, and has
wrk ask from a process of its own: in turns for `/v1/ping` (behind the layer) and `/ping` (the same
handler before it), with the same headers; then for `/v1/ping` while keys are created over
`POST /admin/keys`, one after the other without a pause, in turns with nothing being created. That
it does twice: with wrk asking as fast as it can, and with pauses, which leave the machine idle
between. Each figure is a median over the turns.

It needs Python 3.8 and wrk, and ends with status 1 where a bound is missed or an answer isn't 2xx.
"""

import argparse
import http.client
import json
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = ROOT / "benches/load/report.lua"

# What the project promises.
LEAST_SHARE = 0.95
MOST_P99 = 2.0


def main():
    wanted = arguments()
    service = wanted.service or build()
    with tempfile.TemporaryDirectory() as place, Service(service, place) as site:
        customer = site.issue("customer", 0)
        share = requests_per_second(site, customer, wanted)
        full = slowest_while_creating(site, customer, wanted, "full", 0)
        paced = slowest_while_creating(site, customer, wanted, "paced", wanted.pause)
    return 0 if share >= LEAST_SHARE and max(full, paced) <= MOST_P99 else 1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--service", help="a built axum_service, in place of building one")
    parser.add_argument("--turns", type=int, default=21, help="of each route")
    parser.add_argument("--seconds", type=int, default=1, help="of each of those turns")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--busy-turns", type=int, default=15, help="in which keys are created")
    parser.add_argument("--keys", type=int, default=250, help="created in each of those")
    parser.add_argument("--pause", type=int, default=4,
                        help="of a connection after an answer, in milliseconds")
    return parser.parse_args()


def build():
    command = ["cargo", "build", "--release", "--all-features", "--example", "axum_service"]
    command += ["--message-format", "json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    messages = map(json.loads, built.stdout.splitlines())
    return next(m["executable"] for m in messages if m.get("executable"))


class Service:
    """A running example, and what its administrator may ask of it."""

    def __init__(self, program, place):
        command = [program, "--listen", "127.0.0.1:0", "--db", f"{place}/keys.db"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        first = json.loads(self.process.stdout.readline())
        self.url, self.administrator = first["url"], first["token"]
        self.admin = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.admin.close()
        self.process.terminate()
        self.process.wait(timeout=60)

    def issue(self, owner, number):
        body = {"owner": owner, "access": ["links:*"], "name": f"key {number}"}
        headers = {"Authorization": f"Bearer {self.administrator}",
                   "Content-Type": "application/json"}
        self.admin.request("POST", "/admin/keys", json.dumps(body), headers)
        answer = self.admin.getresponse()
        issued = json.loads(answer.read())
        if answer.status != 201:
            raise SystemExit(f"a key was not issued: {answer.status} {issued}")
        return issued["token"]


class Asking:
    """wrk on one route, until its time is over or it is told to stop."""

    def __init__(self, url, token, connections, seconds=600, pause=0):
        command = ["wrk", "--threads", "1", "--connections", str(connections),
                   "--duration", f"{seconds}s", "--metadata", f"Authorization: Bearer {token}",
                   "--script", str(REPORT), url, "--", str(pause)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        return self.result()

    def result(self):
        output, _ = self.process.communicate()
        report = json.loads(output.splitlines()[-1])
        if self.process.returncode or report["errors"] or not report["requests"]:
            raise SystemExit(f"not every request was answered 2xx: {output}")
        return report


def requests_per_second(site, token, wanted):
    def rate(path):
        asked = Asking(site.url + path, token, wanted.connections, wanted.seconds).result()
        return asked["requests"] / asked["microseconds"] * 1e6

    rate("/ping"), rate("/v1/ping")  # The first turns warm up.
    verified, plain = [], []
    for turn in range(wanted.turns):
        if turn % 2:
            verified.append(rate("/v1/ping")), plain.append(rate("/ping"))
        else:
            plain.append(rate("/ping")), verified.append(rate("/v1/ping"))
    figure("load_requests_plain", statistics.median(plain), "per_s")
    figure("load_requests_verified", statistics.median(verified), "per_s")
    share = statistics.median(v / p for v, p in zip(verified, plain))
    figure("load_requests_share", share, "x_plain")
    return share


def slowest_while_creating(site, token, wanted, name, pause):
    def asking():
        return Asking(site.url + "/v1/ping", token, wanted.connections, pause=pause)

    quiet, busy, created, answered = [], [], [], []
    for turn in range(wanted.busy_turns):
        asked = asking()
        began = time.monotonic()
        for number in range(wanted.keys):
            site.issue(f"{name} {turn}", number)
        took = time.monotonic() - began
        busy.append(asked.stop()["p99"])
        created.append(wanted.keys / took)
        # For as long as that, with nothing being created.
        asked = asking()
        time.sleep(took)
        report = asked.stop()
        quiet.append(report["p99"])
        answered.append(report["requests"] / report["microseconds"] * 1e6)
    figure(f"load_{name}_requests", statistics.median(answered), "per_s")
    figure(f"load_{name}_keys_created", statistics.median(created), "per_s")
    figure(f"load_{name}_p99_quiet", statistics.median(quiet), "us")
    figure(f"load_{name}_p99_creating", statistics.median(busy), "us")
    quotient = statistics.median(busy) / statistics.median(quiet)
    figure(f"load_{name}_p99_quotient", quotient, "x_quiet")
    return quotient


def figure(name, value, unit):
    print(f"figure {name} {value:.3f} {unit}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
