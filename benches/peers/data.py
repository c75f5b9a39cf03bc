"""Logs of five kinds, the same for the same size and seed. They are made up, and hold what the queries ask for.

- service: JSON of a web service, of one shape an event: levels, users, ids, urls, durations, stack traces
- wide: JSON security events of 150 to 400 fields, most of which say the same each time
- network: JSON of connections: addresses, ports, bytes, and no message
- text: plain lines in the form of syslog
- entropy: JSON of random ids, hashes and numbers, with no word in common
"""
import json, random

KINDS = ("service", "wide", "network", "text", "entropy")
NEEDLE = "needle-alpha-7f3a9c"
START_MS = 1_735_689_600_000


def stamp(ms):
    seconds, part = divmod(ms, 1000)
    days, seconds = divmod(seconds, 86_400)
    year, month, day = 2025, 1, 1 + days - (START_MS // 86_400_000)
    for length in (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31):
        if day <= length:
            break
        day, month = day - length, month + 1
    return f"{year}-{month:02}-{day:02}T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{part:03}Z"


def uuid(rnd):
    h = "%032x" % rnd.getrandbits(128)
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:]}"


def skewed(rnd, values, s=1.1):
    """Draws values, the first ones most often."""
    table = rnd.choices(values, [1 / (i + 1) ** s for i in range(len(values))], k=1 << 14)
    return lambda: table[rnd.getrandbits(14)]


def service(rnd):
    user = skewed(rnd, [f"user-{n:05}" for n in range(200)])
    host = skewed(rnd, [f"node-{n:02}.{r}.example.net" for n in range(1, 9) for r in ("eu-1", "us-1", "ap-1")], 0.3)
    ip = skewed(rnd, [f"{rnd.randrange(1, 224)}.{rnd.getrandbits(8)}.{rnd.getrandbits(8)}.{rnd.getrandbits(8)}" for _ in range(20_000)], 0.7)
    instance = skewed(rnd, [uuid(rnd) for _ in range(4_000)], 0.8)
    agent = skewed(rnd, ["Mozilla/5.0 (Windows NT 10.0; Win64; x64)", "curl/8.7.1", "okhttp/4.12.0", "Go-http-client/2.0", "kube-probe/1.29"])
    route = skewed(rnd, ["/api/v1/orders/%s", "/api/v1/users/me", "/healthz", "/api/v1/search?q=%s&limit=50", "/files/%s/download"])
    method = skewed(rnd, ["GET", "POST", "PUT", "DELETE", "PATCH"], 1.6)
    status = skewed(rnd, [200, 201, 404, 401, 500, 429, 503], 2.2)
    table = skewed(rnd, ["users", "orders", "sessions", "invoices", "jobs"])
    names = skewed(rnd, ["anna", "bob", "chloé", "dmitri", "fatima", "山田", "Ольга", "wei"])
    correlations, ms, n = [uuid(rnd) for _ in range(64)], START_MS, 0
    while True:
        n, ms = n + 1, ms + rnd.getrandbits(1)
        if rnd.getrandbits(2) == 0:
            correlations[rnd.getrandbits(6)] = uuid(rnd)
        kind, level, extra = rnd.random(), "info", {}
        if kind < 0.40:
            url, took = route(), int(rnd.lognormvariate(3.5, 1.2))
            url = url % ("%08x" % rnd.getrandbits(32)) if "%s" in url else url
            verb, code = method(), status()
            level = "error" if code >= 500 else "warn" if code >= 400 else "info"
            category, message = "api", f"{verb} {url} {code} in {took}ms"
            extra = {"duration": took, "method": verb, "url": url, "statusCode": code, "ip": ip(), "userAgent": agent(),
                     "http": {"duration": took + rnd.randrange(1000) / 1000, "bytes": rnd.randrange(90_000)}}
        elif kind < 0.52:
            name = names()
            good = rnd.random() < 0.8
            level = "info" if good else "warn"
            category, message = "auth", f"User login succeeded for {name}" if good else f"Login failed for {name} (attempt {rnd.randrange(1, 9)})"
            extra = {"ip": ip()}
        elif kind < 0.62:
            level, category, message = "debug", "system", f"Heartbeat {rnd.randrange(1 << 20)} from {instance()}"
        elif kind < 0.92:
            took, slow = int(rnd.lognormvariate(2, 1)), rnd.random() < 0.03
            took = took * 60 if slow else took
            level = "warn" if slow else "debug"
            category, message = "database", f"{'Slow query detected' if slow else 'Query'} on {table()} took {took}ms"
            extra = {"duration": took}
            if rnd.random() < 0.004:
                level, message = "error", "deadlock detected while waiting for a lock"
        else:
            level = "error" if rnd.random() < 0.15 else "info"
            category = "process"
            message = f"Worker {instance()} exited unexpectedly with code {rnd.choice((1, 2, 134, 137, 255))}" if level == "error" else f"Worker started, pid {rnd.randrange(65_536)}"
            if level == "error":
                extra = {"error": "Error: socket hang up\n    at connect (net.js:%d)\n    at emit (events.js:%d)" % (rnd.randrange(900), rnd.randrange(900))}
        if n % 90_000 == 4_242:
            message += f" {NEEDLE}"
        if n % 49_999 == 777:
            message += " Ωμέγα"
        yield {"timestamp": stamp(ms), "level": level, "category": category, "message": message, "userId": user(),
               "instanceId": instance(), "requestId": "req_%016x" % rnd.getrandbits(64),
               "correlationId": correlations[rnd.getrandbits(6)], "host": host(), **extra}


def wide(rnd):
    shapes = []
    for event in range(24):
        fields = {f"{part}.{name}{n}": rnd.choice(("true", "-", "0x0", "S-1-5-18", "Microsoft-Windows-Security", str(rnd.randrange(99))))
                  for n in range(rnd.randrange(12, 34)) for part in ("event", "process", "user", "target") for name in ("id", "name", "attr")}
        shapes.append((4600 + event, fields))
    host, ms, n = skewed(rnd, [f"WS-{n:04}" for n in range(500)], 0.4), START_MS, 0
    while True:
        n, ms = n + 1, ms + rnd.getrandbits(4)
        code, fields = shapes[min(rnd.getrandbits(5), 23)]
        level = "warn" if code % 7 == 0 else "info"
        message = f"An account was {'locked out' if code % 7 == 0 else 'logged on'}. Subject {uuid(rnd)}"
        if n % 900 == 42:
            message += f" {NEEDLE}"
        yield {"timestamp": stamp(ms), "level": level, "message": message, "host": host(), "event_id": code, **fields,
               "process.pid": rnd.getrandbits(16), "target.hash": "%064x" % rnd.getrandbits(256)}


def network(rnd):
    address = skewed(rnd, [f"10.{rnd.getrandbits(8)}.{rnd.getrandbits(8)}.{rnd.getrandbits(8)}" for _ in range(9_000)], 0.9)
    port, ms, n = skewed(rnd, [443, 80, 53, 22, 8080, 5432, 6379, 123]), START_MS, 0
    host = skewed(rnd, [f"fw-{n}" for n in range(6)])
    while True:
        n, ms = n + 1, ms + (rnd.getrandbits(3) == 0)
        yield {"timestamp": stamp(ms), "host": host(), "src_ip": address(), "dst_ip": address(), "src_port": rnd.randrange(1024, 65_536),
               "dst_port": port(), "proto": "tcp" if rnd.getrandbits(2) else "udp", "bytes_in": int(rnd.lognormvariate(7, 2)),
               "bytes_out": int(rnd.lognormvariate(6, 2)), "packets": rnd.randrange(1, 400), "duration": rnd.randrange(90_000) / 1000,
               "action": "deny" if rnd.getrandbits(5) == 0 else "allow", "flow": NEEDLE if n % 90_000 == 4_242 else "%012x" % rnd.getrandbits(48)}


def text(rnd):
    host = skewed(rnd, [f"web-{n}" for n in range(12)])
    what = skewed(rnd, ["sshd", "kernel", "nginx", "cron", "postfix/smtpd"])
    lines = {"sshd": lambda: f"Failed password for invalid user admin from {rnd.getrandbits(8)}.{rnd.getrandbits(8)}.1.9 port {rnd.randrange(1024, 65_536)} ssh2",
             "kernel": lambda: f"[{rnd.randrange(10**6)}.{rnd.randrange(10**6):06}] usb {rnd.randrange(9)}-1: new high-speed USB device number {rnd.randrange(120)}",
             "nginx": lambda: f"upstream timed out (110: Connection timed out) while reading, request: \"GET /item/{rnd.randrange(10**6)} HTTP/1.1\"",
             "cron": lambda: f"(root) CMD (/usr/lib/sa/sa1 1 1) took {rnd.randrange(4000)}ms",
             "postfix/smtpd": lambda: f"{'%010X' % rnd.getrandbits(40)}: client=unknown[{rnd.getrandbits(8)}.7.{rnd.getrandbits(8)}.2]"}
    ms, n = START_MS, 0
    while True:
        n, ms = n + 1, ms + rnd.getrandbits(5)
        program = what()
        tail = f" {NEEDLE}" if n % 90_000 == 4_242 else ""
        yield f"{stamp(ms)} {host()} {program}[{rnd.randrange(32_768)}]: {lines[program]()}{tail}"


def entropy(rnd):
    ms, n = START_MS, 0
    while True:
        n, ms = n + 1, ms + rnd.getrandbits(2)
        yield {"timestamp": stamp(ms), "host": f"h{rnd.getrandbits(2)}", "id": uuid(rnd), "hash": "%064x" % rnd.getrandbits(256),
               "n": rnd.getrandbits(62), "x": rnd.random(), "message": NEEDLE if n % 90_000 == 4_242 else "%040x" % rnd.getrandbits(160)}


def write(path, kind, size, seed=1):
    """Writes records of a kind until the file has this many bytes; how many records."""
    rnd, written, count = random.Random(seed), 0, 0
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    with open(path, "wb", 1 << 20) as out:
        for record in globals()[kind](rnd):
            line = (record if isinstance(record, str) else encode(record)).encode() + b"\n"
            written += len(line)
            if written > size:
                return count
            out.write(line)
            count += 1
