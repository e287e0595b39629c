# shellcheck shell=bash
# What the scripts in bench/ share: the private server they measure on, its data, and running calls. Sourced, never run.

bench=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/lib.sh
. "$bench/../tools/lib.sh"

# usage: the comment at the head of the script that runs.
usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 2
}

# enter_release VERSION SCRIPT ARGUMENT...: where VERSION is not the native release, runs bench/SCRIPT inside that
# release's folder (tools/servers), where it is the native one, and ends as that ends. Else it only returns.
enter_release() {
    local version=$1 inside root
    if [ "$version" = "$(native_version)" ]; then return; fi
    "$top/tools/servers" make "$version" >&2
    inside=/srv/dms_refs-bench-$(tree_id)
    root=$("$top/tools/servers" path "$version")$inside
    mkdir -p "$root"
    chmod 755 "$root"
    copy_tree "$root/tree"
    exec "$top/tools/servers" exec "$version" env DMS_REFS_WORK="$inside/work" "$inside/tree/bench/$2" "${@:3}"
}

# start_bench NAME [SETTING...]: builds the extension, installs it under a folder of its own and starts a private cluster
# with it in build/NAME: a new one, or, where bench_again is set, the one of the last run with its data. The server is
# stopped when the script ends, unless bench_keep is set.
start_bench() {
    local folder version
    version=$(native_version)
    need "postgresql-$version" "postgresql-server-dev-$version" g++ make >&2
    bench_pg_config=/usr/lib/postgresql/$version/bin/pg_config
    bench_bin=$("$bench_pg_config" --bindir)
    folder=$(work_folder "$1")
    exec 9>"$folder/lock"
    flock -n 9 || die "another run uses $folder"
    say "building in $folder" >&2
    copy_tree "$folder/tree"
    local make=(make -s -j "$(nproc)" -C "$folder/tree" PG_CONFIG="$bench_pg_config")
    if ! { "${make[@]}" all && "${make[@]}" install DESTDIR="$folder/dest"; } >"$folder/build.log" 2>&1; then
        tail -30 "$folder/build.log"
        die "the extension does not build"
    fi
    {
        cat "$bench/server.conf"
        server_paths "$bench_pg_config" "$folder/dest"
        for setting in "${@:2}"; do say "${setting%%=*} = '${setting#*=}'"; done
    } >"$folder/settings.conf"
    say "include '$folder/settings.conf'" >"$folder/include.conf"
    bench_folder=$folder/server
    stop_server "$bench_pg_config" "$bench_folder"
    trap stop_bench EXIT
    # The server must not hold the lock.
    if [ -n "${bench_again:-}" ]; then
        export PGHOST PGUSER=postgres PGDATABASE=postgres
        PGHOST=$(sed -n "s/^unix_socket_directories = '\(.*\)'/\1/p" "$bench_folder/data/postgresql.conf")
        mkdir -p "$PGHOST"
        as_user "$bench_bin/pg_ctl" -D "$bench_folder/data" -l "$bench_folder/server.log" -w -s start 9>&-
    else
        own_folder "$bench_folder"
        start_server "$bench_pg_config" "$bench_folder" "$folder/include.conf" 9>&-
    fi
}

stop_bench() {
    if [ -n "${bench_keep:-}" ]; then
        say "the server still runs: PGHOST=$PGHOST PGUSER=postgres; stop it: $bench_bin/pg_ctl -D $bench_folder/data stop" >&2
    else
        stop_server "$bench_pg_config" "$bench_folder" >&2
    fi
}

# sql ARGUMENT...: psql as superuser, rows without decoration.
sql() { "$bench_bin/psql" -XqAt -v ON_ERROR_STOP=1 "$@"; }

# load_data PARTITIONS DOCUMENTS REFERENCES SKEW LAYOUT SIZES PARENTS: makes the store and its data, or, with bench_again,
# makes sure that it is there, and that it is the same.
load_data() {
    if [ -n "${bench_again:-}" ]; then
        [ "$(sql -c 'SELECT made_of FROM bench.data')" = "$*" ] || die "--again takes the data options of the run before"
        sql -c 'TRUNCATE bench.result' -c "DELETE FROM dms.reference WHERE parentdocumentid IN (SELECT id FROM bench.parent WHERE purpose = 'insert')" \
            -c 'VACUUM dms.reference'
    else
        say "loading $2 documents and aliases, about $3 references, $1 partitions, $4" >&2
        sql -c 'CREATE EXTENSION dms_refs' -c 'CREATE EXTENSION pg_stat_statements' -c 'CREATE EXTENSION pg_prewarm' -c 'CREATE EXTENSION pgstattuple' \
            -c "SELECT dms_refs.create_store('dms', $1, '$5')" >/dev/null
        sql -v layout="$5" -v partitions="$1" -v documents="$2" -v refs="$3" -v skew="$4" -v sizes="$6" -v parents="$7" \
            -f "$bench/sql/data.sql"
        sql -f "$bench/sql/rivals.sql" -c "CREATE TABLE bench.data AS SELECT '$*'::text AS made_of"
    fi
    sql -c 'CHECKPOINT' -c "SELECT count(pg_prewarm(oid)) FROM pg_class
                            WHERE relkind IN ('r', 'i') AND relnamespace = 'dms'::regnamespace" >/dev/null
}

# progress TEXT: a line that the next one replaces, for people.
progress() { if [ -t 2 ]; then printf '\r%-70s' "$1" >&2; fi; }
