"""The machine: where tensors live, how many threads count, and what shows that work goes on."""
