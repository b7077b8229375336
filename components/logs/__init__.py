"""The data contract, the sources that translate foreign logs into it, and the sample marketplace."""
