"""Where it is searched: the frozen encoder, the exact index, and both stored together."""
