"""What is asked: each line in our language, in LogsQL, in SQL over the table that `duck.py` makes, and for ripgrep.

A query answers with a number, or with rows; then their number counts. Where an entry is None, that peer is not asked.
"""
import json, re
from collections import namedtuple

# name, ours, LogsQL, SQL, arguments for ripgrep, and most rows (None: a number is the answer).
Query = namedtuple("Query", "name ours logsql sql rg rows", defaults=(None, None, None))


def count(name, ours, logsql, where=None, rg=None):
    sql = None if where is None else f"select count(*) from logs where {where}"
    # VictoriaLogs keeps the message under a name of its own.
    logsql = re.sub("^message:", "_msg:", logsql)
    return Query(name, f"{ours} | stats count() as n", f"{logsql} | stats count() n", sql, rg)


def rows(name, ours, logsql, sql, most):
    return Query(name, ours, logsql, sql, None, most)


def sample(path):
    """Values that the queries look for, from the middle of the data: an id, an address, a user."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(size // 2)
        file.readline()
        for line in file:
            record = json.loads(line)
            if "ip" in record and "correlationId" in record:
                return record
    raise SystemExit(f"{path}: no record with ip and correlationId in its second half")


def service(path):
    found = sample(path)
    uuid, ip, user = found["correlationId"], found["ip"], found["userId"]
    greek = word(path, re.compile(r"[\u0370-\u03ff\u1f00-\u1fff]{3,}")) or "Ωμέγα"
    exits = r"exited unexpectedly with code (1|2|134|137)\b"
    escaped = exits.replace("\\", "\\\\")
    return [
        Query("`*`", "* | stats count() as n", "* | stats count() n", "select count(*) from logs"),
        count("`level:error`", "level:error", "level:error", "level = 'error'", ["-F", '"level":"error"']),
        count("`category:auth level:warn`", "category:auth level:warn", "category:auth level:warn", "category = 'auth' and level = 'warn'"),
        count("`message:Heartbeat`", "message:Heartbeat", "message:Heartbeat", "contains(message, 'Heartbeat')", ["-F", "Heartbeat"]),
        count("the same, case ignored (ours always does)", "message:heartbeat", "message:i(heartbeat)", "message ilike '%heartbeat%'", ["-i", "heartbeat"]),
        count('`message:"Slow query detected"`', 'message:"Slow query detected"', 'message:"Slow query detected"', "contains(message, 'Slow query detected')", ["-F", "Slow query detected"]),
        count('`"deadlock detected"`', '"deadlock detected"', 'message:"deadlock detected"', "contains(message, 'deadlock detected')", ["-F", "deadlock detected"]),
        count("needle", 'message:"needle-alpha-7f3a9c"', 'message:"needle-alpha-7f3a9c"', "contains(message, 'needle-alpha-7f3a9c')", ["-F", "needle-alpha-7f3a9c"]),
        count("`correlationId=<uuid>`", f'correlationId="{uuid}"', f'correlationId:="{uuid}"', f"correlationId = '{uuid}'", ["-F", f'"correlationId":"{uuid}"']),
        count("a Greek word", f'message:"{greek}"', f'message:"{greek}"', f"contains(message, '{greek}')", ["-F", greek]),
        count("absent word", "message:zzabsentzz", "message:zzabsentzz", "contains(message, 'zzabsentzz')", ["-F", "zzabsentzz"]),
        count('absent inner part `~"zzabsentz"`', 'message:~"zzabsentz"', 'message:~"zzabsentz"', "contains(message, 'zzabsentz')", ["-F", "zzabsentz"]),
        count('inner part `~"edle-alpha-7f3"`', 'message:~"edle-alpha-7f3"', 'message:~"edle-alpha-7f3"', "contains(message, 'edle-alpha-7f3')", ["-F", "edle-alpha-7f3"]),
        count('`~"exited .. code (1\\|2\\|134\\|137)\\\\b"`', f'message:~"{escaped}"', f'message:~"{escaped}"', f"regexp_matches(message, '{exits}')", [exits]),
        count('`~"[0-9]+ms$"`', 'message:~"[0-9]+ms$"', 'message:~"[0-9]+ms$"', "regexp_matches(message, '[0-9]+ms$')", [r'"message":"[^"]*[0-9]+ms"']),
        count("`ip=<address>`", f"ip={ip}", f'ip:="{ip}"', f"ip = '{ip}'", ["-F", f'"ip":"{ip}"']),
        count("`duration:>1000`", "duration:>1000", "duration:>1000", "duration > 1000"),
        count("`category:api duration:>1000`", "category:api duration:>1000", "category:api duration:>1000", "category = 'api' and duration > 1000"),
        count("`http.duration:>500`", "http.duration:>500", "http.duration:>500", "http.duration > 500"),
        count("`error:*`", "error:*", "error:*", "error is not null and error <> ''"),
        rows("`stats by (level) count()`", "* | stats by (level) count() as n", "* | stats by (level) count() n", "select level, count(*) from logs group by level", 99),
        rows("`by (host, method) count(), avg(duration)`", "* | stats by (host, method) count() as n, avg(duration) as d", "* | stats by (host, method) count() n, avg(duration) d",
             "select host, method, count(*), avg(duration) from logs group by host, method", 9999),
        rows("`by (requestId)`, 10 most", "* | stats by (requestId) count() as n | sort by (n desc) | limit 10", "* | stats by (requestId) count() n | sort by (n desc) | limit 10",
             "select requestId, count(*) as n from logs group by requestId order by n desc limit 10", 10),
        Query("`count_uniq(correlationId)`", "* | stats count_uniq(correlationId) as n", "* | stats count_uniq(correlationId) n", "select count(distinct correlationId) from logs"),
        rows("`by (category) quantile(0.5 and 0.99, duration)`", "* | stats by (category) quantile(0.5, duration) as a, quantile(0.99, duration) as b", "* | stats by (category) quantile(0.5, duration) a, quantile(0.99, duration) b",
             "select category, quantile_disc(duration, 0.5), quantile_disc(duration, 0.99) from logs group by category", 99),
        rows("`top 10 by (userId)`", "* | top 10 by (userId)", "* | top 10 by (userId)", "select userId, count(*) as n from logs group by userId order by n desc limit 10", 10),
        rows("`stats by (_time:10s, level) count()`", "* | stats by (_time:10s, level) count() as n", "* | stats by (_time:10s, level) count() n",
             "select time_bucket(interval '10s', timestamp), level, count(*) from logs group by all", 99_999),
        rows("last 100", "* | limit 100", "* | sort by (_time desc) limit 100", "select * from logs order by timestamp desc limit 100", 100),
        rows("last 100 of `level:error`", "level:error | limit 100", "level:error | sort by (_time desc) limit 100", "select * from logs where level = 'error' order by timestamp desc limit 100", 100),
        rows("last 100 errors of one user", f"level:error userId={user} | limit 100", f'level:error userId:="{user}" | sort by (_time desc) limit 100',
             f"select * from logs where level = 'error' and userId = '{user}' order by timestamp desc limit 100", 100),
        rows("20 slowest", "* | sort by (duration desc) | limit 20", "* | sort by (duration desc) limit 20", "select * from logs order by duration desc nulls last limit 20", 20),
    ]


def word(path, pattern):
    """The first match in the data, or None."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if found := pattern.search(line):
                return found[0]


def other(field, group, number):
    """Queries for data of another kind: its main text field, a field to group by, and one to compare and average."""
    def asked(path):
        quoted = f'"{field}"'
        asks = [
            Query("`*`", "* | stats count() as n", "* | stats count() n", "select count(*) from logs"),
            count("needle", f'{field}:"needle-alpha-7f3a9c"', f'{field}:"needle-alpha-7f3a9c"', f"contains({quoted}, 'needle-alpha-7f3a9c')", ["-F", "needle-alpha-7f3a9c"]),
            count("absent word", f"{field}:zzabsentzz", f"{field}:zzabsentzz", f"contains({quoted}, 'zzabsentzz')", ["-F", "zzabsentzz"]),
            count("inner part", f'{field}:~"edle-alpha-7f3"', f'{field}:~"edle-alpha-7f3"', f"contains({quoted}, 'edle-alpha-7f3')", ["-F", "edle-alpha-7f3"]),
            count("absent inner part", f'{field}:~"zzabsentz"', f'{field}:~"zzabsentz"', f"contains({quoted}, 'zzabsentz')", ["-F", "zzabsentz"]),
        ]
        if group:
            asks.append(rows(f"`stats by ({group}) count()`", f"* | stats by ({group}) count() as n", f"* | stats by ({group}) count() n", f'select "{group}", count(*) from logs group by all', 99_999))
        if number:
            asks.append(Query(f"`avg({number})`", f"* | stats avg({number}) as n", f"* | stats avg({number}) n", f'select avg("{number}") from logs'))
        asks.append(rows("last 100", "* | limit 100", "* | sort by (_time desc) limit 100", 'select * from logs order by timestamp desc limit 100' if group else None, 100))
        return asks
    return asked


QUERIES = {
    "service": service,
    "wide": other("message", "host", "process.pid"),
    "network": other("flow", "dst_port", "bytes_in"),
    "text": other("message", None, None),
    "entropy": other("message", "host", "x"),
}
