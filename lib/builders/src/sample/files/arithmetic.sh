add() { sum=0; for n in "$@"; do sum=$((sum + n)); done; echo "$sum"; }
subtract() { echo $(($1 - $2)); }
multiply() { product=1; for n in "$@"; do product=$((product * n)); done; echo "$product"; }
divide() { echo "$(($1 / $2)) $(($1 % $2))"; }
