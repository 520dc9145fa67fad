"""Makes vectors.txt: where GooseFS 2.x clients look for blocks, computed apart from our own code.

MurmurHash3 x64 128 is the `mmh3` package's (pip install mmh3), not ours. A worker line is `worker ID HOST NODES`, a block
line `block ID OWNER,SECOND,...`: every candidate in order, over at most 100 attempts, each host once. Run it as
`python3 vectors.py > vectors.txt`.
"""

import bisect
import random
import struct

import mmh3


def point(number, index):
    return struct.unpack("<q", mmh3.hash_bytes(struct.pack("<qi", number, index), seed=0, x64arch=True)[:8])[0]


random.seed(20260611)
workers = [(random.getrandbits(62) + 1, "10.0.0.%d" % (i % 7), n) for i, n in enumerate([5000] * 5 + [200, 1, 12000, 5000])]
ring = sorted((point(worker, node), worker) for worker, _, nodes in workers for node in range(nodes))
keys = [key for key, _ in ring]
hosts = {worker: host for worker, host, _ in workers}

for worker, host, nodes in workers:
    print("worker", worker, host, nodes)
blocks = [0, 1, 16777216, 85429583872, 2**63 - 1] + [random.randrange(1, 2**39) << 24 | i % 3 for i in range(195)]
for block in blocks:
    chosen, seen = [], set()
    for attempt in range(100):
        if len(seen) == len(workers):
            break
        at = bisect.bisect_left(keys, point(block, attempt))
        worker = ring[at if at < len(ring) else 0][1]
        seen.add(worker)
        if all(hosts[worker] != hosts[other] for other in chosen):
            chosen.append(worker)
    print("block", block, ",".join(map(str, chosen)))
