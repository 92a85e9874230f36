"""Data sets of static images.

`cifar` reads CIFAR-10 and CIFAR-100, `fashion_mnist` Fashion-MNIST, and `digits` the handwritten digits that
come with scikit-learn, whose file `sklearn_digits` reads. `unpickle` loads the pickled CIFAR batches safely.
"""
