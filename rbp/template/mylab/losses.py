"""The losses of mylab: each function here is an option of the group loss, by a file in conf/loss/.

rbp calls it as f(outputs, labels, **the option's own keys) and minimises what it returns. Accuracy and the
losses that evaluation reports do not depend on it.
"""

import torch.nn.functional as F
from torch import Tensor


def focal(outputs: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Return the focal loss, the mean of -(1 - p)^gamma log p over the images (Lin et al., 2017).

    Args:
        outputs: Time mean of the network's outputs [B, classes].
        labels: The right classes [B]; p is the probability that the network gives them.
        gamma: How little easy images count; 0 is the cross-entropy. loss.gamma.
    """
    log_p = F.log_softmax(outputs, dim=1).gather(1, labels[:, None])[:, 0]
    return -((1 - log_p.exp()) ** gamma * log_p).mean()
