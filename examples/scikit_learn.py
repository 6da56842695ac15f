"""Estimators of scikit-learn as detectors: by name, as objects, as a pipeline, and one that learns from labels."""

from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

import bench

methods = [
    "sklearn:OneClassSVM",
    bench.from_sklearn(LocalOutlierFactor(n_neighbors=5)),
    bench.from_sklearn(make_pipeline(StandardScaler(), OneClassSVM(nu=0.05))),
    bench.from_sklearn(LogisticRegression(C=0.5)),
]
results = bench.run(methods, "bgl@simulated", seeds=1, out="example-results")
print(results.to_polars().select("method", "told", "f1", "auroc"))
