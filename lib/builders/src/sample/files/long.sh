#!/bin/sh
# All sums up to twenty, and a rest, because waiting is what long tests do most.
cd "$(dirname "$0")/.."
. tests/check.sh
n=1 sum=0
while [ "$n" -le 20 ]; do
    sum=$((sum + n))
    check "$sum" add "$((sum - n))" "$n"
    n=$((n + 1))
    [ $((n % 10)) -ne 0 ] || { echo "    $n sums so far"; sleep 1; }
done
exit $failed
