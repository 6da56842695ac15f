"""The methods that train a network, by name: what tests of all of them are held against."""

NETWORKS = frozenset(
    [
        "adlilog",
        "cat",
        "dagmm",
        "deeplog",
        "freelog",
        "fusionlog",
        "generallog",
        "glad",
        "loganomaly",
        "logbert",
        "logformer",
        "loglab",
        "logllm",
        "logrobust",
        "logsy",
        "logtad",
        "metalog",
        "mlad",
        "neurallog",
        "ott-plm",
        "plelog",
        "pull",
        "source-only",
        "zerolog",
    ]
)
