#!/bin/sh
# Stands before a real submit command and misbehaves as WRAPPED_HOW says, until the file
# WRAPPED_ONCE is there.
me=$(basename "$0")
here=$(cd "$(dirname "$0")" && pwd)
PATH=$(printf %s "$PATH" | tr : '\n' | grep -vxF "$here" | paste -sd :)
if [ -e "$WRAPPED_ONCE" ]; then exec "$me" "$@"; fi
: > "$WRAPPED_ONCE"
case $WRAPPED_HOW in
kills-the-owner) "$me" "$@"; kill -9 "$PPID" ;;
kills-the-owner-first) kill -9 "$PPID"; exit 1 ;;
accepts-and-hangs) "$me" "$@" >/dev/null; sleep 600 ;;
accepts-and-fails) "$me" "$@" >/dev/null; echo "sbatch: error: Socket timed out on send/recv operation; commlib error" >&2; exit 1 ;;
accepts-and-babbles) "$me" "$@" >/dev/null; echo "thank you" ;;
refuses-and-hangs) sleep 600 ;;
esac
