#!/bin/sh
# Makes out/abacus from its parts. ABACUS_STRICT=1: a variable that was never set is an error.
set -eu
cd "$(dirname "$0")"
mkdir -p out
{
    echo '#!/bin/sh'
    if [ -n "${ABACUS_STRICT:-}" ]; then echo 'set -u'; fi
    cat lib/*.sh main.sh
} > out/abacus
echo "checking out/abacus"
sh -n out/abacus
chmod +x out/abacus
echo "made out/abacus, $(wc -l < out/abacus | tr -d ' ') lines"
