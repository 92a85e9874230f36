import torch

from rbp.data import Images


def stripes(root, download):
    """Horizontal (0) or vertical (1) stripes at a random place, in noise."""
    draw = torch.Generator().manual_seed(0)

    def images(count):
        labels = torch.arange(count) % 2
        places = torch.randint(0, 4, (count, 1, 1, 1), generator=draw)
        vertical = (((torch.arange(8) + places) % 4 < 2) * 100).expand(count, 1, 8, 8)
        pixels = torch.where(labels.view(-1, 1, 1, 1) == 1, vertical, vertical.transpose(2, 3))
        noise = torch.randint(0, 155, pixels.shape, generator=draw)
        return Images((pixels + noise).to(torch.uint8), labels)

    return images(512), images(256)
