#!/usr/bin/env bash
# Builds docker/Dockerfile with Debian's buildah: no container engine, no image registry, no kernel features beyond
# chroot. Needs root. The Dockerfile's base image is made here, from Debian's packages and this machine's Rust, under
# the name that its FROM line uses; everything else is the Dockerfile's own doing.
set -euo pipefail

help() {
    cat <<'TEXT'
docker/build-without-engine.sh [--try] [--archive FILE] [--new-base]

  --try           run the image between the servers that MILLRACE_TEST_MONGODB_URI (mongodb://host:port, no password)
                  and MILLRACE_TEST_KAFKA (host:port) name, and compare the copy with the original
  --archive FILE  write the image to FILE, for `docker load` or `podman load`
  --new-base      make the base image again (after a change of Rust, certificates or Debian mirrors)

MILLRACE_IMAGE_CACHE   where images and build caches are kept (default: ~/.cache/millrace-image)
MILLRACE_DEBIAN_MIRROR where debootstrap gets its packages (default: its own choice)
TEXT
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${MILLRACE_IMAGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millrace-image}
base=$(awk '$1 == "FROM" && $4 == "builder" { print $2 }' "$root/docker/Dockerfile")
version=$(awk -F'"' '/^version = / { print $2; exit }' "$root/Cargo.toml")
readonly root cache base version image="localhost/millrace:$version"

# buildah keeps the Dockerfile's cache mounts under TMPDIR.
export BUILDAH_ISOLATION=chroot TMPDIR="$cache/tmp"

# The trial's; global, because what cleans up may run after the function that made them.
container='' daemon=''

main() {
    local try=false archive='' new_base=false
    while (($#)); do
        case $1 in
            --try) try=true ;;
            --archive) archive=${2:?"--archive needs a file"} && shift ;;
            --new-base) new_base=true ;;
            --help | -h) help && exit ;;
            *) fail "unknown argument $1"$'\n\n'"$(help)" ;;
        esac
        shift
    done
    check_prerequisites "$try"
    mkdir -p "$TMPDIR"
    if $new_base || ! buildah_here inspect --type image "$base" >/dev/null 2>&1; then
        make_base
    fi
    build
    if [[ -n $archive ]]; then
        # buildah does not write over an archive.
        rm -f "$archive"
        buildah_here push "$image" "docker-archive:$(realpath "$archive"):millrace:$version"
        say "archive: $archive, $(megabytes "$(stat --format=%s "$archive")") MB"
    fi
    if $try; then
        try_image
    fi
}

check_prerequisites() {
    local -A packages=([buildah]=buildah [debootstrap]=debootstrap)
    local program missing=()
    if $1; then
        packages[python3]=python3
        : "${MILLRACE_TEST_MONGODB_URI:?"--try needs it: a replica set, mongodb://host:port"}"
        : "${MILLRACE_TEST_KAFKA:?"--try needs it: host:port"}"
    fi
    for program in "${!packages[@]}"; do
        command -v "$program" >/dev/null || missing+=("${packages[$program]}")
    done
    ((${#missing[@]} == 0)) || fail "not installed: apt-get install ${missing[*]}"
    ((EUID == 0)) || fail "must run as root: debootstrap and chroot need it"
    command -v rustc >/dev/null || fail "rustc is not in PATH; root needs it too: https://rustup.rs"
    local wanted=${base##*:}
    wanted=${wanted%%-*}
    # Asked in the tree, because there rust-toolchain.toml chooses.
    [[ $(cd "$root" && rustc --version) == "rustc $wanted."* ]] \
        || fail "the Dockerfile builds with Rust $wanted, here is $(cd "$root" && rustc --version)"
}

# The images and containers of this script, apart from others of this machine. vfs and chroot ask nothing of the kernel;
# STORAGE_DRIVER would not be looked at where there is a --root.
buildah_here() {
    buildah --storage-driver vfs --root "$cache/storage" --runroot "$cache/run" "$@"
}

# What rust:…-slim-bookworm has: minimal Debian, a C toolchain, Rust in PATH, CARGO_HOME in /usr/local/cargo.
make_base() {
    local tree="$cache/base"
    local suite=${base##*-}
    say "base: Debian $suite and $(cd "$root" && rustc --version), as $base"
    rm -rf "$tree"
    debootstrap --variant=minbase "$suite" "$tree" ${MILLRACE_DEBIAN_MIRROR:+"$MILLRACE_DEBIAN_MIRROR"} \
        >"$cache/debootstrap.log" || fail "debootstrap failed, see $cache/debootstrap.log"
    rm -rf "$tree"/var/cache/apt/archives/*.deb
    tar -C "$(cd "$root" && rustc --print sysroot)" --exclude=./share --create . \
        | tar -C "$tree/usr/local" --extract --no-same-owner
    mkdir -p "$tree/usr/local/cargo"
    local path=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    local environment=(--env CARGO_HOME=/usr/local/cargo --env "PATH=$path")
    add_network_settings "$tree" "$suite" environment
    local container
    container=$(buildah_here from scratch)
    buildah_here add --quiet "$container" "$tree" / >/dev/null
    buildah_here config "${environment[@]}" "$container"
    buildah_here commit --quiet --rm "$container" "$base" >/dev/null
    rm -rf "$tree"
}

# This machine's way to the package registries, whatever it is: apt's sources and transport, and trusted certificates.
# They stay in the base image; the final image has Debian's certificates only.
add_network_settings() {
    local tree=$1 suite=$2
    local -n result=$3
    local bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
    # shellcheck source=/dev/null
    if [[ $(. /etc/os-release && echo "${VERSION_CODENAME:-}") == "$suite" ]]; then
        if [[ -e /etc/apt/sources.list.d/debian.sources ]]; then
            cp /etc/apt/sources.list.d/debian.sources "$tree/etc/apt/sources.list.d/"
            rm -f "$tree/etc/apt/sources.list"
        elif [[ -e /etc/apt/sources.list ]]; then
            cp /etc/apt/sources.list "$tree/etc/apt/sources.list"
        fi
    fi
    if command -v apt-config >/dev/null; then
        apt-config dump | grep -E '^Acquire::(Check-|http|https|ForceIPv|Retries)' >"$tree/etc/apt/apt.conf.d/99host" || true
    fi
    if [[ -e $bundle ]]; then
        cp --dereference "$bundle" "$tree/etc/host-certificates.pem"
        echo 'Acquire::https::CaInfo "/etc/host-certificates.pem";' >>"$tree/etc/apt/apt.conf.d/99host"
        result+=(--env CARGO_HTTP_CAINFO=/etc/host-certificates.pem)
    fi
}

build() {
    # Mounted, not copied: it may hold a token. Proxy variables go into RUN steps by buildah itself.
    local settings="${CARGO_HOME:-$HOME/.cargo}/config.toml" volumes=()
    if [[ -e $settings ]]; then
        volumes=(--volume "$settings:/usr/local/cargo/config.toml:ro")
    fi
    # The format "docker" is the one that has health checks.
    buildah_here bud --format docker --pull-never --file "$root/docker/Dockerfile" --tag "$image" \
        "${volumes[@]}" "$root"
    local tree container
    container=$(buildah_here from "$image")
    tree=$(buildah_here mount "$container")
    say "image: $image, $(megabytes "$(du --summarize --apparent-size --block-size=1 "$tree" | cut -f1)") MB"
    buildah_here rm "$container" >/dev/null
}

# Documents are written first and the source starts at the time before them; the daemon then ends by itself, with 0,
# once all has been moved. So nothing here depends on how long anything takes. What fails leaves its databases behind.
try_image() {
    local name="image_try_$$" port start ready_from=$SECONDS
    local config="$cache/$name.toml" log="$cache/$name.log"
    trap end_trial EXIT
    container=$(buildah_here from "$image")
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    start=$(documents write "$name")
    cat >"$config" <<TOML
name = "$name"
mongodb.uri = "$MILLRACE_TEST_MONGODB_URI"
kafka.bootstrap_servers = "$MILLRACE_TEST_KAFKA"
checkpoint = { store = "file" }
admin.listen = "127.0.0.1:$port"
sources.all = { watch = ["$name.*"], start = "$start" }
sinks.copy = { topics = ["$name.*"], namespace = "${name}_copy.{coll}" }
TOML
    chmod 644 "$config"

    say "try: the daemon in the image, as its user, with its own command"
    # Its own process group, because a signal to buildah does not reach what it runs.
    set -m
    in_image "$config" run --config /etc/millrace/config.toml --exit-when-idle 10s >"$log" 2>&1 &
    daemon=$!
    set +m
    until in_image "$config" status --config /etc/millrace/config.toml >/dev/null 2>&1; do
        kill -0 "$daemon" 2>/dev/null || fail "the daemon ended before it was ready, see $log"
        ((SECONDS - ready_from < 60)) || fail "the daemon is not ready after a minute, see $log"
    done
    say "try: the health check succeeds; waiting until all has been moved"
    wait "$daemon" || fail "the daemon ended with an error, see $log"
    daemon=
    documents compare "$name"
    documents drop "$name"
    rm -f "$config"
    say "try: topics $name.* are left on $MILLRACE_TEST_KAFKA, the daemon's log in $log"
}

end_trial() {
    if [[ -n $daemon ]] && kill -KILL -- "-$daemon" 2>/dev/null; then
        wait "$daemon" || true
    fi
    [[ -z $container ]] || buildah_here rm "$container" >/dev/null
}

in_image() {
    local config=$1
    shift
    local entry
    entry=$(buildah_here inspect --type image --format '{{index .Docker.Config.Entrypoint 0}}' "$image")
    buildah_here run --network host --volume "$config:/etc/millrace/config.toml:ro" "$container" -- "$entry" "$@"
}

documents() {
    python3 "$root/docker/try_documents.py" "$1" "$MILLRACE_TEST_MONGODB_URI" "$2"
}

megabytes() {
    awk -v bytes="$1" 'BEGIN { printf "%.1f", bytes / 1e6 }'
}

say() {
    echo "$*"
}

fail() {
    echo "build-without-engine: $*" >&2
    exit 1
}

main "$@"
