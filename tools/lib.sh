# shellcheck shell=bash
# What the scripts in tools/ share: messages, packages, the unprivileged user, copies of the tree, and
# private servers. Sourced, never run.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Servers refuse to run as root: then this user runs them. Never one that owns clusters of the system.
server_user=${DMS_REFS_USER:-nobody}

say() { printf '%s\n' "$*"; }
loud() { printf '\n*** %s\n\n' "$*"; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

is_root() { [ "$(id -u)" -eq 0 ]; }

# as_user COMMAND...: as the unprivileged user when we are root, else as ourselves. The working directory
# is / because the user may not be allowed into ours.
to_user=()
if is_root; then to_user=(runuser -u "$server_user" -- env HOME=/nonexistent); fi
as_user() { (cd / && exec "${to_user[@]}" "$@"); }

# --- packages --------------------------------------------------------------------------------------

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# need PACKAGE...: installs those that are missing.
need() {
    local package missing=()
    for package; do
        installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    is_root || die "packages are missing; as root: apt-get install ${missing[*]}"
    say "installing ${missing[*]}"
    local log=$top/build/apt.log
    mkdir -p "$top/build"
    apt-get update >"$log" 2>&1 || say "apt-get update failed; trying with the package lists that are here"
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1 ||
        { tail -n 20 "$log" && die "apt-get install failed; see $log"; }
}

# unpack FOLDER PACKAGE...: the files of packages, with nothing installed: some would start a service of the system.
# Without what they depend on. Fails where they cannot be had.
unpack() {
    local folder=$1 package
    shift
    for package; do
        [ ! -e "$folder/.$package" ] || continue
        say "unpacking $package"
        rm -rf "$folder/.deb"
        mkdir -p "$folder/.deb"
        (
            cd "$folder/.deb"
            apt-get download "$package" || { apt-get update && apt-get download "$package"; } || exit 1
            dpkg-deb -x ./*.deb "$folder"
        ) >"$folder/.log" 2>&1 || return 1
        rm -rf "$folder/.deb"
        touch "$folder/.$package"
    done
    chmod -R a+rX "$folder"
}

# The PostgreSQL release that is native to this machine: the newest one installed, else Debian's own.
native_version() {
    local version
    if [ -n "${DMS_REFS_PG:-}" ]; then
        say "$DMS_REFS_PG"
        return
    fi
    # The file name ends in bin/postgres; the release is the folder above.
    version=$(find /usr/lib/postgresql -path '*/bin/postgres' 2>/dev/null | cut -d/ -f5 | sort -n | tail -1)
    if [ -z "$version" ]; then
        case "$(sed -n 's/^VERSION_ID="\?\([0-9]*\).*/\1/p' /etc/os-release)" in
        12) version=15 ;;
        13) version=17 ;;
        14) version=18 ;;
        *) die "cannot tell this system's PostgreSQL release: set DMS_REFS_PG" ;;
        esac
    fi
    say "$version"
}

# --- folders ---------------------------------------------------------------------------------------

# work_folder NAME: build/NAME in the checkout (or in the folder DMS_REFS_WORK, for a checkout that is a copy), or,
# where the unprivileged user cannot get there, a folder of the same use under /var/tmp.
work_folder() {
    local folder=${DMS_REFS_WORK:-$top/build}/$1
    mkdir -p "$folder"
    if ! as_user test -x "$folder"; then
        folder=/var/tmp/dms_refs-$(id -u)-$(tree_id)/$1
        mkdir -p "$folder"
        [ -O "$folder" ] || die "$folder belongs to somebody else"
        chmod 755 "$(dirname "$folder")" "$folder"
    fi
    say "$folder"
}

# A short name for this checkout.
tree_id() { printf %s "$top" | cksum | cut -d' ' -f1; }

# copy_tree FOLDER: the checkout's files without what was built, with their times.
copy_tree() {
    rm -rf "$1"
    mkdir -p "$1"
    tar -C "$top" --exclude=./.git --exclude=./build --exclude='./build-*' --exclude='*.o' --exclude='*.d' \
        --exclude='*.so' -cf - . | tar -C "$1" --no-same-owner -xf -
    chmod -R a+rX "$1"
}

# own_folder FOLDER: an empty folder that belongs to the unprivileged user.
own_folder() {
    rm -rf "$1"
    mkdir -p "$1"
    if is_root; then chown "$server_user" "$1"; fi
}

# --- private servers -------------------------------------------------------------------------------

# server_paths PG_CONFIG DEST: settings by which a server finds the extension under `make install
# DESTDIR=DEST`. Debian's servers before 18 have extension_destdir for the control and SQL files.
server_paths() {
    local share lib
    share=$("$1" --sharedir)
    lib=$("$1" --pkglibdir)
    if "$1" --version | grep -qE ' 1[0-7]'; then
        say "extension_destdir = '$2'"
    else
        say "extension_control_path = '$2$share:\$system'"
    fi
    say "dynamic_library_path = '$2$lib:\$libdir'"
}

# start_server PG_CONFIG FOLDER [SETTINGS-FILE...]: makes a cluster in FOLDER (owned by the unprivileged
# user) and starts it; TCP off. Leaves PGHOST, PGPORT, PGUSER and PGDATABASE set for clients. $server_program is started in place
# of `postgres`, if it is set.
start_server() {
    local bin folder=$2 settings=("${@:3}") instead=()
    bin=$("$1" --bindir)
    stop_server "$1" "$folder"
    rm -rf "$folder/data"
    PGHOST=$folder
    # The path of a Unix socket has 107 characters at most.
    if [ ${#folder} -gt 80 ]; then
        PGHOST=$(as_user mktemp -d /tmp/dms_refs.XXXXXX)
    fi
    export PGHOST PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
    as_user "$bin/initdb" -D "$folder/data" -U postgres -A trust -N -E UTF8 --no-locale >"$folder/initdb.log" 2>&1 ||
        { cat "$folder/initdb.log" && die "initdb failed"; }
    {
        say "listen_addresses = ''"
        say "unix_socket_directories = '$PGHOST'"
        say "unix_socket_permissions = 0700"
        [ ${#settings[@]} -eq 0 ] || cat "${settings[@]}"
    } | as_user tee -a "$folder/data/postgresql.conf" >/dev/null
    if [ -n "${server_program:-}" ]; then instead=(-p "$server_program" -t 300); fi
    as_user "$bin/pg_ctl" -D "$folder/data" -l "$folder/server.log" "${instead[@]}" -w -s start ||
        { tail -20 "$folder/server.log" && die "the server does not start"; }
}

# stop_server PG_CONFIG FOLDER: those with a cluster somewhere in FOLDER, if there are any and they run.
stop_server() {
    local bin file
    [ -d "$2" ] || return 0
    bin=$("$1" --bindir)
    while read -r file; do
        as_user "$bin/pg_ctl" -D "$(dirname "$file")" -w -s -m fast stop </dev/null >/dev/null 2>&1 || true
    done < <(find "$2" -name postmaster.pid)
}
