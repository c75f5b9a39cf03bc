"""DuckDB in a process of its own, which this file is: a bulk load into a typed table, then queries in SQL.

It talks JSON lines over stdin and stdout: {"load": FILE, "kind": KIND}, {"sql": TEXT, "rows": N or null}.
"""
import importlib.util, json, os, subprocess, sys
from .process import Child, bytes_below

NAME = "DuckDB"
SERVICE = {"timestamp": "TIMESTAMP", "level": "VARCHAR", "category": "VARCHAR", "message": "VARCHAR", "userId": "VARCHAR", "instanceId": "VARCHAR",
           "requestId": "VARCHAR", "correlationId": "VARCHAR", "host": "VARCHAR", "duration": "DOUBLE", "method": "VARCHAR", "url": "VARCHAR",
           "statusCode": "INTEGER", "ip": "VARCHAR", "userAgent": "VARCHAR", "error": "VARCHAR", "mcpId": "VARCHAR",
           "http": "STRUCT(duration DOUBLE, route VARCHAR, bytes BIGINT, version VARCHAR)", "metadata": "JSON"}


def find():
    return sys.executable if importlib.util.find_spec("duckdb") else None


class DuckDb:
    def __init__(self, program, folder):
        self.program, self.folder = program, os.path.join(folder, "duckdb")
        os.makedirs(self.folder, exist_ok=True)

    def version(self):
        import duckdb
        return duckdb.__version__

    def start(self):
        here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        self.child = Child([self.program, "-B", "-m", "peers.duck", os.path.join(self.folder, "logs.duckdb")], stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE, text=True, cwd=here)

    def say(self, message):
        self.child.child.stdin.write(json.dumps(message) + "\n")
        self.child.child.stdin.flush()
        answer = self.child.child.stdout.readline()
        if not answer:
            raise SystemExit(f"DuckDB ended at {message}")
        answer = json.loads(answer)
        if "error" in answer:
            raise SystemExit(f"DuckDB: {answer['error']}")
        return answer["result"]

    def stop(self):
        self.child.child.stdin.close()
        return self.child.stop()

    def load(self, path, kind):
        self.say({"load": os.path.abspath(path), "kind": kind})

    def text(self, query):
        return query.sql

    def asker(self):
        return lambda query: self.say({"sql": query.sql, "rows": query.rows})

    def size(self):
        return bytes_below(self.folder)


def main(path):
    import duckdb
    db = duckdb.connect(path)
    db.execute("set threads = 2")
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if "load" in message:
                file = message["load"].replace("'", "''")
                if message["kind"] == "service":
                    types = json.dumps(SERVICE).replace('"', "'")
                    source = f"read_json('{file}', format = 'newline_delimited', columns = {types})"
                elif message["kind"] == "text":
                    source = f"read_csv('{file}', columns = {{'message': 'VARCHAR'}}, delim = '\\x01', quote = '', escape = '', header = false)"
                else:
                    source = f"read_json('{file}', format = 'newline_delimited', maximum_depth = 2, sample_size = 100000)"
                # With a zone, Python would want another package for it.
                columns = "*" if message["kind"] == "text" else "* replace (timestamp::TIMESTAMP as timestamp)"
                db.execute(f"create table logs as select {columns} from {source}")
                db.execute("checkpoint")
                answer = True
            else:
                found = db.execute(message["sql"]).fetchall()
                answer = round(float(found[0][0]), 3) if message["rows"] is None else len(found)
        except Exception as error:
            print(json.dumps({"error": str(error)}), flush=True)
            continue
        print(json.dumps({"result": answer}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
