"""Share work among processes with haypile.queues: python examples/queues/workers.py"""

import multiprocessing

from haypile.queues import JoinableQueue, Queue


def work(jobs, results):
    while (number := jobs.get()) is not None:
        results.put((number, number * number))
        jobs.task_done()
    jobs.task_done()


if __name__ == "__main__":
    jobs, results = JoinableQueue(), Queue()
    workers = [multiprocessing.Process(target=work, args=(jobs, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for number in range(10):
        jobs.put(number)
    for _ in workers:
        jobs.put(None)
    jobs.join()
    print(f" [x] {results.qsize()} results")
    for number, square in sorted(results.get() for _ in range(10)):
        print(f" [x] {number} x {number} = {square}")
    for worker in workers:
        worker.join()
