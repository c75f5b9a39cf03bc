#!/usr/bin/env bash
# Holds ingest against `zstd -1` and scans against ripgrep, over the same file on the same machine.
#
#   benches/compare.sh DATA.ndjson          # the data of generate.py, or any other JSON lines
#
# DATA, BIN (target/release/duramen), ROUNDS (3) and WORK (a new temporary folder) may come from the environment.
# Figures are CPU seconds, user and system, of all threads, the best of ROUNDS; the file is read once before, so that
# all of them find it in memory. Queries go through the command line, so that opening the store counts too.
set -euo pipefail

data=${1:-${DATA:?usage: compare.sh DATA.ndjson}}
bin=${BIN:-target/release/duramen}
rounds=${ROUNDS:-3}
work=${WORK:-$(mktemp -d)}
trap '[[ -n ${WORK:-} ]] || rm -rf "$work"' EXIT

for tool in "$bin" zstd rg python3; do
    command -v "$tool" >/dev/null || { echo "compare.sh: $tool is not there" >&2; exit 2; }
done

# best COMMAND..: its least CPU seconds, wall seconds of that round, and peak memory in MB.
best() {
    python3 - "$rounds" "$@" <<'PY'
import os, subprocess, sys, time
best = None
for _ in range(int(sys.argv[1])):
    start = time.monotonic()
    child = subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - start
    code = os.waitstatus_to_exitcode(status)
    # rg ends with 1 where it finds nothing.
    if code not in (0, 1):
        sys.exit(f"{' '.join(sys.argv[2:])}: status {code}")
    kb = usage.ru_maxrss if sys.platform != "darwin" else usage.ru_maxrss // 1024
    cpu = usage.ru_utime + usage.ru_stime
    if best is None or cpu < best[0]:
        best = (cpu, wall, kb / 1024)
print(*(f"{x:.3f}" for x in best))
PY
}

ratio() { python3 -c 'import sys; a, b = map(float, sys.argv[1:]); print(f"{a / b:.2f}" if b else "-")' "$1" "$2"; }
row() { printf '%-34s %9s %9s %9s %9s\n' "$@"; }

bytes=$(wc -c <"$data")
cat "$data" >/dev/null
echo "$data: $bytes bytes, best of $rounds"
row step 'CPU s' 'wall s' 'peak MB' ratio

read -r zstd_cpu zstd_wall zstd_mb < <(best zstd -q -1 -f -T1 "$data" -o "$work/data.zst")
row 'zstd -1' "$zstd_cpu" "$zstd_wall" "$zstd_mb" 1.00

ingest() { best bash -c 'rm -rf "$1" && exec "$2" ingest --data "$1" "$3"' - "$work/data" "$bin" "$data"; }
read -r cpu wall mb < <(ingest)
row 'duramen ingest (to zstd -1)' "$cpu" "$wall" "$mb" "$(ratio "$cpu" "$zstd_cpu")"
"$bin" compact --data "$work/data" >/dev/null 2>&1

size=$(find "$work/data" -type f -name '*.seg' -exec cat {} + | wc -c)
zsize=$(wc -c <"$work/data.zst")
row 'bytes on disk: zstd -1' "$zsize" - - "$(ratio "$bytes" "$zsize")"
row 'bytes on disk: duramen' "$size" - - "$(ratio "$bytes" "$size")"

# scan NAME QUERY RG-ARGUMENTS..: a count by both.
scan() {
    local name=$1 query=$2 cpu wall mb rg_cpu rg_wall rg_mb
    shift 2
    read -r rg_cpu rg_wall rg_mb < <(best rg -c "$@" "$data")
    read -r cpu wall mb < <(best "$bin" query --data "$work/data" "$query | stats count() as n")
    row "rg: $name" "$rg_cpu" "$rg_wall" "$rg_mb" 1.00
    row "duramen: $name" "$cpu" "$wall" "$mb" "$(ratio "$cpu" "$rg_cpu")"
}

scan 'a rare word' 'HeisenbugException' -F HeisenbugException
scan 'an absent word' 'zzzabsentzzz' -F zzzabsentzzz
scan 'a common phrase' 'message:"Health check ok"' -F 'Health check ok'
scan 'an expression' 'message:/code (1|2|134|137)/' 'code (1|2|134|137)'
scan 'a substring' 'message:/xpir/' -F xpir
scan 'a level' 'level=error' -F '"level":"error"'
