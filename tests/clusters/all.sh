# shellcheck shell=bash
# Brings all clusters up, exports what tests need, and ends at exit those that it started.
# One that does not come up is told, and its tests skip themselves.
clusters_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
clusters_state=${CLUSTERS_DIR:-${TMPDIR:-/tmp}/batchwright-clusters}
clusters_started=()
end_clusters() {
    local name
    for name in "${clusters_started[@]}"; do
        bash "$clusters_here/$name-down" --wipe || echo "warning: $name was not ended" >&2
    done
}
trap end_clusters EXIT
for name in slurm gridengine ssh docker; do
    [ -d "$clusters_state/$name" ] || clusters_started+=("$name")
    if exports=$(timeout 300 bash "$clusters_here/$name-up"); then
        eval "$exports"
    else
        echo "warning: no $name here, so its tests are skipped" >&2
    fi
done
unset name exports
