. tests/check.sh
check 4 add 2 2
exit $failed
