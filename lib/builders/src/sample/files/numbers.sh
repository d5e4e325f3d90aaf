gcd() {
    a=$1 b=$2
    while [ "$b" -ne 0 ]; do t=$((a % b)); a=$b; b=$t; done
    echo "$a"
}
lcm() { echo $(($1 / $(gcd "$1" "$2") * $2)); }
power() { p=1; i=0; while [ "$i" -lt "$2" ]; do p=$((p * $1)); i=$((i + 1)); done; echo "$p"; }
factorial() { f=1; i=1; while [ "$i" -le "$1" ]; do f=$((f * i)); i=$((i + 1)); done; echo "$f"; }
fibonacci() { a=0; b=1; i=0; while [ "$i" -lt "$1" ]; do t=$((a + b)); a=$b; b=$t; i=$((i + 1)); done; echo "$a"; }
prime() {
    d=2
    while [ $((d * d)) -le "$1" ]; do
        if [ $(($1 % d)) -eq 0 ]; then echo "no: $d * $(($1 / d))"; return; fi
        d=$((d + 1))
    done
    echo yes
}
