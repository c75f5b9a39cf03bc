#!/usr/bin/env python3
"""Holds a `duramen` binary against a data file with known counts.

  truth.py DATA.ndjson [--truth DATA.ndjson.truth.json] [--bin target/release/duramen] [--keep DIR]

Ingests the file into a new store, asks every query of the sidecar by the command line and over HTTP, before and after
a restart and after `compact`, then its group-bys, sums and quantiles, and verifies the store. Prints a line for each
query, and exits 1 where anything differs.

The sidecar's `queries` are tool-neutral: all conditions of `where` must hold (`eq`, `ne`, `phrase`, `word`, `contains`,
`prefix`, `regex`, `gt`, `gte`, `lt`, `lte`, `exists`, `in`, `any`), and case counts. Words and phrases of the query
language ignore case, so conditions on case become regular expressions, which keep it.
"""
import argparse, json, os, re, shutil, signal, socket, subprocess, sys, tempfile, time
import urllib.error, urllib.parse, urllib.request

# ---------------------------------------------------------------- conditions as query text


def quoted(text):
    """A text in double quotes, with the escapes of the language."""
    out = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{out}"'


def literal(text):
    """A regular expression that matches this text and no other."""
    return "".join("\\n" if c == "\n" else "\\" + c if c in r"\.+*?()|[]{}^$#&-~/" else c for c in text)


def clause(field, op, value):
    name = field if re.fullmatch(r"[A-Za-z_][\w.]*", field) else quoted(field)
    scalar = value if isinstance(value, (int, float)) and not isinstance(value, bool) else quoted(str(value))
    if field == "timestamp":
        return f'timestamp{ {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}[op] }{value}'
    if op == "any":
        # Anywhere in any value, inside words too.
        return f"/{literal(value)}/"
    if op in ("eq", "ne"):
        return f'{name}{"=" if op == "eq" else "!="}{scalar}'
    if op == "in":
        return f'{name}:in({", ".join(quoted(str(v)) for v in value)})'
    if op == "exists":
        return f"{name}:*" if value else f"NOT {name}:*"
    if op in ("gt", "gte", "lt", "lte"):
        return f'{name}{ {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}[op] }{scalar}'
    if op in ("word", "phrase"):
        # The phrase, which an index can look up, and its case.
        return f"{name}:{quoted(value)} AND {name}:/{literal(value)}/"
    if op == "contains":
        return f"{name}:/{literal(value)}/"
    if op == "prefix":
        return f"{name}:/^{literal(value)}/"
    if op == "regex":
        return f"{name}:/{value.replace('/', chr(92) + '/')}/"
    raise SystemExit(f"unknown operation {op}")


def text_of(query):
    return " AND ".join(clause(c["field"], c["op"], c["value"]) for c in query["where"]) or "*"


# ---------------------------------------------------------------- two ways to ask


class CommandLine:
    name = "cli"

    def __init__(self, binary, data):
        self.binary, self.data = binary, data

    def rows(self, query):
        command = [self.binary, "query", "--data", self.data, "--format", "ndjson", "--", query]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"status {done.returncode}: {done.stderr.strip()}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def close(self):
        pass


class Server:
    name = "http"

    def __init__(self, binary, data):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{s.getsockname()[1]}"
        command = [binary, "serve", "--data", data, "--listen", self.address]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://{self.address}/health/ready", timeout=5).read()
                return
            except (urllib.error.URLError, OSError):
                if self.process.poll() is not None:
                    raise SystemExit(f"the server ended with {self.process.returncode}")
                time.sleep(0.05)
        raise SystemExit("the server does not answer")

    def rows(self, query):
        parameters = urllib.parse.urlencode({"query": query, "limit": 1_000_000})
        try:
            with urllib.request.urlopen(f"http://{self.address}/api/v1/query?{parameters}", timeout=600) as answer:
                return json.load(answer)["data"]["rows"]
        except urllib.error.HTTPError as e:
            raise RuntimeError(f"status {e.code}: {e.read().decode()}") from e

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(timeout=60):
            raise SystemExit(f"the server ended with {self.process.returncode} after SIGTERM")


# ---------------------------------------------------------------- what is asked


def groups(rows, key):
    return {str(r[key]): r["n"] for r in rows if r.get(key) not in (None, "")}


def best(counts):
    """The twenty largest as the sidecar has them: by count, then by name."""
    return dict(sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))[:20])


def checks(truth):
    """Every check: its name, its query, what of the rows is compared, and what it must be."""
    for query in truth["queries"]:
        yield query["id"], f"{text_of(query)} | stats count() as n", lambda rows: rows[0]["n"], query["count"]
        if query["count"] <= 5000:
            yield query["id"] + " (rows)", text_of(query), len, query["count"]
    by = truth.get("group_by", {})
    for key in ("level", "category", "statusCode", "method"):
        if key in by:
            # Groups without a record are in the sidecar, and in no answer.
            expected = {k: n for k, n in by[key].items() if n}
            yield f"by {key}", f"* | stats by ({key}) count() as n", lambda rows, key=key: groups(rows, key), expected
    if "userId_top20" in by:
        all_users = lambda rows: best(groups(rows, "userId"))
        yield "by userId", "* | stats by (userId) count() as n", all_users, by["userId_top20"]
        errors = "level:in(error, fatal) | stats by (userId) count() as n"
        yield "errors by userId", errors, all_users, by["userId_errors_top20"]
        distinct = "* | stats count_uniq(userId) as n"
        yield "distinct userId", distinct, lambda rows: rows[0]["n"], by["userId_distinct"]
    if "duration" in truth:
        columns = {"count": "count(duration)", "sum": "sum(duration)", "min": "min(duration)", "max": "max(duration)"}
        columns.update({p: f"{p}(duration)" for p in ("p50", "p95", "p99")})
        asked = ", ".join(f"{call} as d_{name}" for name, call in columns.items())
        expected = {name: truth["duration"][name] for name in columns}
        figures = lambda rows: {name: rows[0][f"d_{name}"] for name in columns}
        yield "duration", f"* | stats {asked}", figures, expected
    if "http_bytes_sum" in truth:
        total = "* | stats sum(http.bytes) as n"
        yield "sum of http.bytes", total, lambda rows: rows[0]["n"], truth["http_bytes_sum"]


def run(asker, truth, when, failures):
    for name, query, of, expected in checks(truth):
        start = time.monotonic()
        try:
            got = of(asker.rows(query))
        except Exception as e:  # a failed query is a difference like any other
            got = f"{type(e).__name__}: {e}"
        ms = (time.monotonic() - start) * 1000
        right = got == expected
        print(f'{"pass" if right else "FAIL"}  {asker.name:4}  {when:14}  {ms:8.1f} ms  {name}')
        if not right:
            print(f"      {query}\n      expected {expected}\n      got      {got}")
            failures.append(name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--truth")
    parser.add_argument("--bin", default=os.environ.get("DURAMEN_BIN", "target/release/duramen"))
    parser.add_argument("--keep", help="make the store here, and leave it")
    parser.add_argument("--print", action="store_true", help="print the queries and run nothing")
    o = parser.parse_args()
    with open(o.truth or o.data + ".truth.json", encoding="utf-8") as file:
        truth = json.load(file)
    if o.print:
        for name, query, _, _ in checks(truth):
            print(f"{name:24} {query}")
        return 0
    root = o.keep or tempfile.mkdtemp(prefix="duramen-truth-")
    store = os.path.join(root, "data")
    failures = []
    try:
        start = time.monotonic()
        done = subprocess.run([o.bin, "ingest", "--data", store, o.data], capture_output=True, text=True)
        said = done.stderr.strip().splitlines()[-1:] or [""]
        print(f"{said[0]} in {time.monotonic() - start:.1f} s")
        if done.returncode or f'{truth["rows"]} records accepted, 0 rejected' not in said[0].replace(",", "", 0):
            failures.append("ingest")
        for when in ("first", "restarted", "compacted"):
            if when == "compacted":
                subprocess.run([o.bin, "compact", "--data", store], check=True, capture_output=True)
            run(CommandLine(o.bin, store), truth, when, failures)
            server = Server(o.bin, store)
            run(server, truth, when, failures)
            server.close()
        verified = subprocess.run([o.bin, "verify", "--deep", store], capture_output=True, text=True)
        if verified.returncode:
            failures.append("verify")
            print(verified.stdout, verified.stderr)
    finally:
        if not o.keep:
            shutil.rmtree(root, ignore_errors=True)
    print(f'{len(failures)} differ: {", ".join(failures)}' if failures else "all as they should be")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
