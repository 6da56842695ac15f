"""Two methods on one log, beside the controls: the table, a frame, what can be said, and what was got wrong."""

import bench

results = bench.run(["ngram", "invariants"], "bgl@simulated", seeds=2, out="example-results")
print(results)

frame = results.to_polars()
print(frame.select("method", "told", "f1", "f1_low", "f1_high", "ap").sort("ap", descending=True))

differences = results.compare("ngram", metric="ap")
print(differences.select("against", "difference", "low", "high", "verdict"))

print(results.errors("ngram", seed=0).head())
results.plot("ap").savefig("example-results/ap.png")
