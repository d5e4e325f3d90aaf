digits() { printf '%s' "$1" | wc -c | tr -d ' '; }
reverse() { n=$1; r=; while [ -n "$n" ]; do r=${n%"${n#?}"}$r; n=${n#?}; done; echo "$r"; }
