"""A child process, what it has used so far, and when it has come to rest. Linux only: figures are from /proc."""
import http.client, os, signal, socket, subprocess, time

TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Child:
    def __init__(self, arguments, log=subprocess.DEVNULL, **more):
        self.child = subprocess.Popen(arguments, stdout=more.pop("stdout", log), stderr=log, **more)
        self.pid, self.ended = self.child.pid, None

    def cpu(self):
        """CPU seconds, user and system, of all its threads so far."""
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def peak_mib(self):
        with open(f"/proc/{self.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024

    def rest(self, seconds=4.0, most=300.0):
        """Waits until it has used less than 2 % of a core for so long."""
        since, last, begun = time.monotonic(), self.cpu(), time.monotonic()
        while time.monotonic() - since < seconds and time.monotonic() - begun < most:
            time.sleep(0.5)
            now = self.cpu()
            if now - last > 0.01 * 1.0:
                since = time.monotonic()
            last = now

    def stop(self):
        """Ends it in good order; CPU seconds and peak memory in MiB of its whole life."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(self.pid, 0)
        self.child.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Refused(Exception):
    """What a server said no to."""


class Client:
    """One connection that stays open."""

    def __init__(self, port):
        self.port, self.http = port, None

    def ask(self, method, path, body=None, headers=()):
        if self.http is None:
            self.http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
            self.http.connect()
            self.http.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.http.request(method, path, body, dict(headers))
        answer = self.http.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise Refused(f"{method} {path}: {answer.status} {data[:300]!r}")
        return data


def wait_for(port, path, child):
    for _ in range(1200):
        try:
            return Client(port).ask("GET", path)
        except (OSError, http.client.HTTPException):
            if child.child.poll() is not None:
                break
            time.sleep(0.02)
    raise SystemExit(f"{child.child.args[0]} did not start")


def bytes_below(folder):
    """Bytes of all files, as they are long, and by what `ends` their names have."""
    total, kinds = 0, {}
    for base, _, names in os.walk(folder):
        for name in names:
            size = os.path.getsize(os.path.join(base, name))
            total += size
            kind = os.path.splitext(name)[1] or name
            kinds[kind] = kinds.get(kind, 0) + size
    return total, kinds


def forget(folder):
    """Lets the system drop what it has of these files in memory, as far as it does."""
    os.sync()
    for base, _, names in os.walk(folder):
        for name in names:
            file = os.open(os.path.join(base, name), os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)
