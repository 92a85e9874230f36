"""What a forward pass keeps: the traces of its layers, and the means of storing or computing less."""
