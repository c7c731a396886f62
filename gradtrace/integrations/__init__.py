"""gradtrace where people train: Lightning, Transformers, Accelerate, TensorBoard, W&B, MLflow, notebooks.

Each module imports the library that it is for; import the one that you need.
"""
