"""VictoriaLogs over HTTP, with its defaults. Its program is looked for as `victoria-logs` or `victoria-logs-prod`."""
import os, shutil, subprocess, urllib.parse
from .duramen import result
from .process import Child, Client, bytes_below, free_port, wait_for

NAME = "VictoriaLogs"


def find():
    return os.environ.get("VICTORIA_LOGS") or shutil.which("victoria-logs") or shutil.which("victoria-logs-prod")


class VictoriaLogs:
    def __init__(self, program, folder):
        self.program, self.folder, self.port = program, os.path.join(folder, "victoria-logs"), free_port()
        self.log = open(self.folder + ".log", "ab")

    def version(self):
        words = subprocess.run([self.program, "-version"], capture_output=True, text=True)
        return next((word for word in (words.stdout + words.stderr).split() if word.startswith("v1")), "?")[:8]

    def start(self):
        # Records of any day: by default it drops those that are older than a week.
        self.child = Child([self.program, f"-storageDataPath={self.folder}", "-retentionPeriod=100y",
                            f"-httpListenAddr=127.0.0.1:{self.port}"], self.log)
        wait_for(self.port, "/health", self.child)

    def stop(self):
        return self.child.stop()

    def sender(self, is_text):
        client = Client(self.port)
        time_field = "_time" if is_text else "timestamp"
        path = f"/insert/jsonline?_time_field={time_field}&_msg_field=message" + ("" if is_text else "&_stream_fields=host")
        return lambda body: client.ask("POST", path, body, {"Content-Type": "application/stream+json"})

    def text(self, query):
        return query.logsql

    def asker(self):
        client = Client(self.port)

        def ask(query):
            body = urllib.parse.urlencode({"query": query.logsql}).encode()
            return result(client.ask("POST", "/select/logsql/query", body, {"Content-Type": "application/x-www-form-urlencoded"}), query.rows)
        return ask

    def settle(self):
        """Makes all that was taken searchable and lets it be written."""
        Client(self.port).ask("GET", "/internal/force_flush")

    def size(self):
        return bytes_below(self.folder)
