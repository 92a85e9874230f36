"""The forward passes, by BPTT or Rate-based backpropagation, over all steps at once or one by one."""
