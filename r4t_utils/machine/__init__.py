"""The machine: where tensors live, how many threads count, what shows that work goes on, and what files hold."""
