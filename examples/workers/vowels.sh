#!/bin/sh
# A worker in POSIX shell and awk: the share of vowels among the letters of a text.
#
#     external_program(command=["sh", "examples/workers/vowels.sh"])
#
# Requests are {"id": N, "sequences": ["...", ...]}, one a line. All but ASCII comes as \uXXXX, so a
# string is what stands between two quotes that no backslash precedes. The shell reads the lines,
# since some awks wait for 4 KB of them.
answer='
function share(text,    letters, vowels) {
    gsub(/\\u[0-9a-f][0-9a-f][0-9a-f][0-9a-f]|\\[bfnrt]/, "", text)  # none is an ASCII letter
    letters = gsub(/[A-Za-z]/, "&", text)
    vowels = gsub(/[AEIOUaeiou]/, "&", text)
    return letters ? vowels / letters : 0
}
{
    match($0, /"id": [0-9]+/)
    id = substr($0, RSTART + 6, RLENGTH - 6)
    rest = substr($0, index($0, "[") + 1)
    while (match(rest, /"([^"\\]|\\.)*"/)) {
        text = substr(rest, RSTART + 1, RLENGTH - 2)
        scores = scores (scores == "" ? "" : ", ") sprintf("%.6f", share(text))
        rest = substr(rest, RSTART + RLENGTH)
    }
    printf "{\"id\": %s, \"scores\": [%s]}\n", id, scores
}'
printf '%s\n' '{"protocol": 1, "name": "vowels", "range": [0, 1]}'
while IFS= read -r request; do
    printf '%s\n' "$request" | awk "$answer"
done
