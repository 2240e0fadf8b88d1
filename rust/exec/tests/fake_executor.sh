#!/bin/sh
# Stands in for `batchwright-exec`: tells when it starts and ends, and ends when it is told to.
chunk=$(basename "$2" .bwc)
echo "start $chunk" >>"$FAKE_DIR/log"
[ -e "$FAKE_DIR/stubborn-$chunk" ] && trap '' TERM
while [ ! -e "$FAKE_DIR/go" ] && [ ! -e "$FAKE_DIR/go-$chunk" ]; do
    sleep 0.02
done
echo "end $chunk" >>"$FAKE_DIR/log"
if [ -e "$FAKE_DIR/fail-$chunk" ]; then
    echo "no such interpreter"
    exit 7
fi
