#!/bin/sh
# Stands before a real submit command and misbehaves once, as WRAPPED_HOW says: at its first call,
# or at call number WRAPPED_AT. The file WRAPPED_CALLS counts them.
me=$(basename "$0")
here=$(cd "$(dirname "$0")" && pwd)
PATH=$(printf %s "$PATH" | tr : '\n' | grep -vxF "$here" | paste -sd :)
echo call >>"$WRAPPED_CALLS"
if [ "$(wc -l <"$WRAPPED_CALLS")" -ne "${WRAPPED_AT:-1}" ]; then exec "$me" "$@"; fi
case $WRAPPED_HOW in
kills-the-owner) "$me" "$@"; kill -9 "$PPID" ;;
kills-the-owner-first) kill -9 "$PPID"; exit 1 ;;
accepts-and-hangs) "$me" "$@" >/dev/null; sleep 600 ;;
accepts-and-fails) "$me" "$@" >/dev/null; echo "sbatch: error: Socket timed out on send/recv operation; commlib error" >&2; exit 1 ;;
accepts-and-babbles) "$me" "$@" >/dev/null; echo "thank you" ;;
refuses-and-hangs) sleep 600 ;;
esac
