"""Duramen over HTTP, as anyone would run it."""
import json, os, subprocess
from .process import Child, Client, bytes_below, free_port, wait_for

NAME = "Duramen"


class Duramen:
    def __init__(self, program, folder):
        self.program, self.folder, self.port = program, os.path.join(folder, "duramen"), free_port()
        self.log = open(self.folder + ".log", "ab")

    def version(self):
        return subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout.split()[-1]

    def start(self):
        self.child = Child([self.program, "serve", "--data", self.folder, "--listen", f"127.0.0.1:{self.port}"], self.log)
        wait_for(self.port, "/health", self.child)

    def stop(self):
        return self.child.stop()

    def sender(self, is_text):
        client = Client(self.port)
        path = "/api/v1/ingest" + ("" if is_text else "?stream_fields=host")

        def send(body):
            answer = json.loads(client.ask("POST", path, body, {"Content-Type": "application/x-ndjson"}))
            if answer["rejected"]:
                raise SystemExit(f"duramen rejected {answer['rejected'][:2]}")
        return send

    def text(self, query):
        return query.ours

    def asker(self):
        client = Client(self.port)

        def ask(query):
            answer = client.ask("POST", "/api/v1/query", json.dumps({"query": query.ours}).encode(),
                                {"Content-Type": "application/json", "Accept": "application/x-ndjson"})
            return result(answer, query.rows)
        return ask

    def size(self):
        return bytes_below(self.folder)

    def parts(self):
        """Bytes on disk by column and kind: lists of (kind, name, encoding, bytes)."""
        arguments = [self.program, "stats", "--columns", "--format", "ndjson", "--data", self.folder]
        lines = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.splitlines()
        rows = [json.loads(line) for line in lines]
        return sorted(((r["kind"], r["name"], r["encoding"], r["stored_bytes"]) for r in rows), key=lambda r: -r[3])


def result(answer, rows):
    """The number that an answer of JSON lines consists of, or how many lines there are."""
    lines = answer.splitlines()
    if rows is not None:
        return len(lines)
    return round(float(json.loads(lines[0])["n"]), 3)
