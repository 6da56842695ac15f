# A method in awk: how rare is the rarest log key of a sequence, by its share of the training events.
#
#   bench data export bgl@simulated --out export --format jsonl
#   awk -f rarest_key.awk export/train.jsonl export/validation.jsonl export/test.jsonl > scores.csv
#   bench results import rarest-key-awk scores.csv --export export
#
# The first file is what it learns from; of every further sequence it prints the id and a score, higher is more abnormal.

function value(line, name) { # what stands behind "name": in a line of JSON
    return substr(line, index(line, "\"" name "\":") + length(name) + 3)
}

function keys_of(line, keys,   text) { # splits the list of log keys, returns how many there are
    text = value(line, "keys")
    return split(substr(text, 2, index(text, "]") - 2), keys, ",")
}

NR == FNR {
    n = keys_of($0, keys)
    for (i = 1; i <= n; i++) {
        seen[keys[i]]++
        total++
    }
    next
}

{
    n = keys_of($0, keys)
    worst = 0
    for (i = 1; i <= n; i++) {
        surprise = -log((seen[keys[i]] + 0.5) / (total + 1))
        if (surprise > worst) worst = surprise
    }
    text = value($0, "id")
    printf "%s,%.6f\n", substr(text, 2, index(substr(text, 2), "\"") - 1), worst
}
