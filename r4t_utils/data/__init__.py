"""What is searched: the corpus, its sources, its language and its splits."""
