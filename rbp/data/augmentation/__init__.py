"""Change training images at random.

`augment` shifts, flips and cuts; `autoaugment` applies AutoAugment's policy, which `autoaugment_policy` has.
"""
