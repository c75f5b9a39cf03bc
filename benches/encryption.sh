#!/usr/bin/env bash
# What encryption at rest costs: the same records and queries with a plain tenant and with an encrypted one.
#
#   benches/encryption.sh DATA.ndjson
#
# From the environment: BIN (target/release/duramen), ROUNDS (5), WORK (a new temporary folder, removed at the end).
#
# Each step is a process of its own, whose CPU time `perf stat` counts, in all and in user mode (which it counts in ticks
# of some ms); shown is the least of the rounds. Rounds take turns, so that what else the machine does meets both tenants.
# `ingest` ends with all of it sealed, `compact` merges that; queries run over segments in the system's page cache, REPEAT (10)
# times, each in a new process, so that nothing was decrypted or decoded before.
set -euo pipefail

data=${1:-${DATA:?usage: encryption.sh DATA.ndjson}}
bin=$(realpath "${BIN:-target/release/duramen}")
rounds=${ROUNDS:-5}
for tool in "$bin" perf awk; do
    command -v "$tool" >/dev/null || { echo "encryption.sh: $tool is not there" >&2; exit 2; }
done
work=${WORK:-$(mktemp -d)}
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT
unset DURAMEN_DATA DURAMEN_URL DURAMEN_TOKEN
"$bin" key generate "$work/master" >/dev/null 2>&1
export DURAMEN_MASTER_KEY_FILE=$work/master

# measure STEP TENANT TIMES COMMAND..: adds a line "step tenant cpu-ms user-ms", of one time.
measure() {
    local step=$1 tenant=$2 times=$3
    shift 3
    perf stat -x, -r "$times" -e task-clock,user_time -o "$work/perf" "$@" >/dev/null 2>"$work/said" || {
        cat "$work/said" >&2
        exit 1
    }
    awk -F, -v step="$step" -v tenant="$tenant" '
        $3 ~ /^task-clock/ { cpu = $1 / ($2 == "msec" ? 1 : 1e6) }
        $3 ~ /^user_time/ { user = $1 / ($2 == "msec" ? 1 : 1e6) }
        END { print step, tenant, cpu, user }' "$work/perf" >>"$work/lines"
}

for round in $(seq "$rounds"); do
    for tenant in plain sealed; do
        store=$work/$tenant
        rm -rf "$store"
        # Makes the store.
        "$bin" ingest --data "$store" - </dev/null >/dev/null 2>&1
        encrypt=()
        [ "$tenant" = plain ] || encrypt=(--encrypt)
        "$bin" tenant create t --data "$store" "${encrypt[@]}" >/dev/null 2>&1
        measure ingest "$tenant" 1 "$bin" ingest --data "$store" --tenant t "$data"
        measure compact "$tenant" 1 "$bin" compact --data "$store" --tenant t
        while IFS='|' read -r name query; do
            measure "$name" "$tenant" "${REPEAT:-10}" "$bin" query --data "$store" --tenant t --format json "$query"
        done <<'QUERIES'
count|* | stats count() as n
word|message:Heartbeat | stats count() as n
groups|* | stats by (host, method) count() as n, avg(duration) as d
substring|message:~"edle-alpha" | stats count() as n
rows|* | limit 1000
sort|* | sort by (message) | limit 5
QUERIES
        echo "bytes $tenant $(du -sb "$store/tenants/t" | cut -f1) 0" >>"$work/sizes"
    done
done

awk '
    { key = $1 " " $2; if (!($1 in seen)) { seen[$1] = ++steps; name[steps] = $1 } }
    !(key in cpu) || $3 < cpu[key] { cpu[key] = $3 }
    !(key in user) || $4 < user[key] { user[key] = $4 }
    END {
        print "| step | plain: CPU ms | user ms | encrypted: CPU ms | user ms | ratio of CPU |"
        print "|---|---|---|---|---|---|"
        for (i = 1; i <= steps; i++) {
            p = name[i] " plain"; s = name[i] " sealed"
            ratio = cpu[p] > 0 ? sprintf("%.2f", cpu[s] / cpu[p]) : "-"
            printf "| %s | %.1f | %.1f | %.1f | %.1f | %s |\n", name[i], cpu[p], user[p], cpu[s], user[s], ratio
        }
    }' "$work/lines"
awk '{ size[$2] = $3 } END { printf "bytes on disk: plain %d, encrypted %d (%.4f)\n", size["plain"], size["sealed"], size["sealed"] / size["plain"] }' "$work/sizes"
