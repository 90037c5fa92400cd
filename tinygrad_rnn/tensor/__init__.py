"""The autograd engine: arrays that remember, and a backward pass. It knows nothing of networks."""
