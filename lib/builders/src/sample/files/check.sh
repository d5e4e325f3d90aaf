failed=0
# check WANT COMMAND...
check() {
    want=$1
    shift
    if got=$(sh out/abacus "$@" 2>&1) && [ "$got" = "$want" ]; then
        echo "    abacus $*: $got"
    else
        echo "    abacus $*: want \"$want\", got \"$got\""
        failed=1
    fi
}
