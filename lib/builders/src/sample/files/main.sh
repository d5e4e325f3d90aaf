command=${1:-help}
[ $# -eq 0 ] || shift
case $command in
add | subtract | multiply | divide | gcd | lcm | power | factorial | fibonacci | prime | digits | reverse) "$command" "$@" ;;
*) echo "usage: abacus COMMAND NUMBER..." >&2; exit 2 ;;
esac
