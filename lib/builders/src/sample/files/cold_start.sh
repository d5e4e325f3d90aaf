# Unreliable on purpose: half of the time it is too slow as long as nothing is warm.
if [ -f out/warm ]; then
    echo "    warm: answered in time"
    exit 0
fi
: > out/warm
bit=$(od -An -N1 -tu1 /dev/urandom | tr -d ' ')
if [ $((bit % 2)) -eq 0 ]; then
    echo "    cold: answered in time"
    exit 0
fi
echo "    cold: no answer in time (the dice said $bit)"
exit 1
