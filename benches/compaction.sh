#!/usr/bin/env bash
# What merging in the background costs those who append and query meanwhile, and how often a byte is written.
#
#   benches/compaction.sh DATA.ndjson       # the data of generate.py, or any other JSON lines, sent again and again
#
# From the environment: BIN (target/release/duramen), RECORDS (10000000), RATE (records a second; without it the highest
# rate is measured for CALIBRATE_S (20) seconds first, and PERCENT (60) of it taken), CONNECTIONS (4), BODY_BYTES
# (1048576), PORT (4899), QUERY_EVERY_MS (250), MEMORY_BYTES (536870912: of DATA that much is held and sent), WORK (a
# new temporary folder).
#
# The same records go to a server at the same rate twice, without merging and with it, while one client runs a fixed
# mix of queries. An ack is timed from when the body was due, so that a server that stalls does not hide it. The time
# field of the data is renamed: records count as of now, as they would in use, and follow each other.
set -euo pipefail

data=${1:-${DATA:?usage: compaction.sh DATA.ndjson}}
bin=${BIN:-target/release/duramen}
for tool in "$bin" python3; do
    command -v "$tool" >/dev/null || { echo "compaction.sh: $tool is not there" >&2; exit 2; }
done

exec python3 - "$data" "$bin" <<'PY'
import http.client, json, os, re, shutil, signal, subprocess, sys, tempfile, threading, time

data, program = sys.argv[1:]
env = lambda name, default: int(os.environ.get(name) or default)
RECORDS, CONNECTIONS = env("RECORDS", 10_000_000), env("CONNECTIONS", 4)
BODY_BYTES, PORT = env("BODY_BYTES", 1 << 20), env("PORT", 4899)
CALIBRATE_S, PERCENT, RATE = env("CALIBRATE_S", 20), env("PERCENT", 60), env("RATE", 0)
QUERY_EVERY_S, MEMORY_BYTES = env("QUERY_EVERY_MS", 250) / 1000, env("MEMORY_BYTES", 512 << 20)
# Each in turn: the newest page, a word, a count by field of the last minute, an identifier that is not there, a sort.
QUERIES = [
    {"query": "*", "limit": 50},
    {"query": "error", "limit": 50},
    {"query": "* | stats count() as n by level", "start": "now-1m"},
    {"query": "requestId:req_ffffffffffffffff"},
    {"query": "level:error | sort by duration desc | limit 20", "start": "now-1m"},
]


def bodies():
    """The data in bodies of about BODY_BYTES, each with the number of its records."""
    found, lines, size, total = [], [], 0, 0
    time_field = re.compile(rb'^\{"(?:@?timestamp|time|ts|_time)":')
    with open(data, "rb") as file:
        for line in file:
            line = time_field.sub(b'{"event_time":', line.rstrip(b"\n")) + b"\n"
            lines.append(line)
            size += len(line)
            if size >= BODY_BYTES:
                found.append((b"".join(lines), len(lines)))
                total += size
                lines, size = [], 0
                if total >= MEMORY_BYTES:
                    break
    if lines and not found:
        found.append((b"".join(lines), len(lines)))
    return found


class Server:
    def __init__(self, folder, merge):
        arguments = [program, "serve", "--data", folder, "--listen", f"127.0.0.1:{PORT}"]
        self.log = open(folder + ".log", "wb")
        self.child = subprocess.Popen(arguments + ([] if merge else ["--no-merge"]), stderr=self.log)
        for _ in range(600):
            try:
                self.get("/health")
                return
            except OSError:
                if self.child.poll() is not None:
                    break
                time.sleep(0.05)
        sys.exit(f"the server did not start: see {folder}.log")

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        connection.request("GET", path)
        body = connection.getresponse().read()
        connection.close()
        return body.decode()

    def metrics(self):
        pairs = [line.rsplit(" ", 1) for line in self.get("/metrics").splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in pairs}

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        self.child.wait()
        self.log.close()


def post(connection, path, body, kind):
    connection.request("POST", path, body, {"Content-Type": kind})
    response = connection.getresponse()
    answer = response.read()
    if response.status >= 300:
        sys.exit(f"{path}: {response.status} {answer[:300]!r}")
    return answer


def load(all_bodies, records, rate, seconds=None):
    """Sends records over all connections; at a rate, each body at its time. Gives acks in seconds, records, seconds."""
    lock, state, acks = threading.Lock(), {"sent": 0, "next": 0}, []
    begun = time.monotonic()

    def work():
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=300)
        while True:
            with lock:
                if state["sent"] >= records or (seconds and time.monotonic() - begun > seconds):
                    return
                body, count = all_bodies[state["next"] % len(all_bodies)]
                due = begun + state["sent"] / rate if rate else time.monotonic()
                state["next"] += 1
                state["sent"] += count
            time.sleep(max(0.0, due - time.monotonic()))
            post(connection, "/api/v1/ingest", body, "application/x-ndjson")
            acks.append(time.monotonic() - due)

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return acks, state["sent"], time.monotonic() - begun


def ask(stop, times):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=300)
    number = 0
    while not stop.is_set():
        begun = time.monotonic()
        body = json.dumps(QUERIES[number % len(QUERIES)]).encode()
        post(connection, "/api/v1/query", body, "application/json")
        times.append((number % len(QUERIES), time.monotonic() - begun))
        number += 1
        stop.wait(QUERY_EVERY_S)


def quantile(values, q):
    values = sorted(values)
    return 1000 * values[min(len(values) - 1, int(q * len(values)))] if values else 0.0


work = os.environ.get("WORK") or tempfile.mkdtemp()
os.makedirs(work, exist_ok=True)
try:
    all_bodies = bodies()
    if not all_bodies:
        sys.exit("no records")
    rate = RATE
    if not rate:
        server = Server(os.path.join(work, "highest"), False)
        _, sent, took = load(all_bodies, 1 << 62, 0, CALIBRATE_S)
        server.stop()
        shutil.rmtree(os.path.join(work, "highest"))
        print(f"highest rate: {sent / took:,.0f} records a second over {took:.0f} s")
        rate = sent / took * PERCENT / 100
    print(f"{RECORDS:,} records at {rate:,.0f} a second over {CONNECTIONS} connections, {BODY_BYTES} bytes a body")
    results = {}
    for merge in (False, True):
        folder = os.path.join(work, "on" if merge else "off")
        server = Server(folder, merge)
        stop, times = threading.Event(), []
        asker = threading.Thread(target=ask, args=(stop, times))
        asker.start()
        acks, sent, took = load(all_bodies, RECORDS, rate)
        stop.set()
        asker.join()
        found = server.metrics()
        server.stop()
        sealed, merged = found["duramen_sealed_bytes_total"], found["duramen_merged_bytes_total"]
        results[merge] = [quantile(acks, 0.5), quantile(acks, 0.99)]
        results[merge] += [quantile([t for _, t in times], q) for q in (0.5, 0.99)]
        print(f"\nmerging {'on' if merge else 'off'}: {sent:,} records in {took:.1f} s, {len(acks)} acks, {len(times)} queries")
        print(f"  segments {found['duramen_segments']:.0f}, merges {found['duramen_merges_total']:.0f}, "
              f"sealed {sealed / 1e6:.1f} MB, merged {merged / 1e6:.1f} MB")
        print(f"  write amplification {(sealed + merged) / sealed if sealed else 1.0:.2f} (bytes of segments, seals included)")
        for number, query in enumerate(QUERIES):
            own = [t for n, t in times if n == number]
            print(f"  {quantile(own, 0.5):9.1f} ms p50 {quantile(own, 0.99):9.1f} ms p99  {query['query']}")
        shutil.rmtree(folder)
    print(f"\n{'':8}{'ack p50':>12}{'ack p99':>12}{'query p50':>12}{'query p99':>12}   ms")
    for merge in (False, True):
        print(f"{'on' if merge else 'off':8}" + "".join(f"{value:12.2f}" for value in results[merge]))
    ratios = [on / off if off else 0.0 for on, off in zip(results[True], results[False])]
    print(f"{'ratio':8}" + "".join(f"{ratio:12.2f}" for ratio in ratios))
finally:
    if not os.environ.get("WORK"):
        shutil.rmtree(work, ignore_errors=True)
PY
