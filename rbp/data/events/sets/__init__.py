"""The event data sets.

`cifar10_dvs`, `dvs128_gesture` and `nmnist` are recordings that the user provides. `digits_dvs` and
`circling_digits` are simulated from scikit-learn's handwritten digits and need no files.
"""
