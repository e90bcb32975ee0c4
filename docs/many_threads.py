"""Does a retriever stand many threads? `python docs/many_threads.py RETRIEVER [SECONDS]`: 120 where none are given.

RETRIEVER is a folder of notebook 4, such as artifacts/cpu/sample/seed-0/04_diffusion_training/oar. Eight threads ask it
for what it holds; every answer is compared with that of one thread alone, and memory is read every second.
"""

import itertools
import sys
import threading
import time

import psutil

from r4t_utils.machine.device import fix_threads
from r4t_utils.retriever import FanoutRetriever

THREADS, QUERIES = 8, 100


def main(folder: str, seconds: float) -> None:
    retriever = FanoutRetriever.from_pretrained(folder)
    queries = list(dict.fromkeys(" ".join(title.split()[:4]) for title in retriever.titles))[:QUERIES]
    k = retriever.slots
    alone = {query: retriever.search(query, k=k) for query in queries}
    process, seen, differ, errors, done = psutil.Process(), [], [], [], [0] * THREADS
    end = time.monotonic() + seconds

    def ask(thread: int) -> None:
        for query in itertools.islice(itertools.cycle(queries), thread, None):
            if time.monotonic() > end:
                return
            try:
                if not retriever.search(query, k=k).equals(alone[query]):
                    differ.append(query)
            except Exception as error:  # whatever it is, it is what is looked for
                errors.append(repr(error))
            done[thread] += 1

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(1)
        seen.append(process.memory_info().rss / 1e6)
    first = seen[min(len(seen) - 1, 10)]  # when every thread has what it needs
    print(f"{THREADS} threads, {seconds:.0f} s, {sum(done)} answers: {len(errors)} errors, {len(differ)} differ")
    print(f"memory {first:.0f} MB after {min(len(seen), 11)} s, at most {max(seen[10:] or seen):.0f} MB from there on")
    print("\n".join(sorted(set(errors))))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python docs/many_threads.py RETRIEVER [SECONDS]")
    fix_threads()
    main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) == 3 else 120)
