"""Steps of the Python client's part in tests/clients; run by main.rs as `client.py STEP MASTERS [ARGS]`.

Every step connects anew, with SIMPLE authentication, and ends with an exception when something is not as it should be.
"""

import hashlib
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from goosefs import Config, Goosefs, WriteType
from goosefs.exceptions import AlreadyExists, DirectoryNotEmpty, NotFound


def pattern(seed, length):
    """Bytes that differ by seed and offset."""
    out = bytearray()
    counter = 0
    while len(out) < length:
        out += hashlib.sha256(f"{seed}:{counter}".encode()).digest()
        counter += 1
    return bytes(out[:length])


def raises(kind, work):
    try:
        work()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was expected")


def round_trip(fs):
    fs.mkdir("/rt/sub", recursive=True)
    fs.mkdir("/through", recursive=True)
    for name, write_type in [("must", WriteType.MustCache), ("through", WriteType.CacheThrough)]:
        for length in [0, 1, 64, 4096, 1 << 20, (1 << 20) + 1, 3_000_000]:
            path, data = f"/rt/{name}-{length}", pattern(name, length)
            fs.write_file(path, data, write_type=write_type)
            status = fs.get_status(path)
            assert status.length == length and status.completed and not status.folder, status
            assert status.persisted == (write_type == WriteType.CacheThrough), (path, status.persistence_state)
            assert fs.read_file(path) == data, path
            for offset, count in [(0, 1), (length // 2, 100), (max(length - 7, 0), 7)]:
                count = min(count, length - offset)
                if count > 0:
                    assert fs.read_range(path, offset, count) == data[offset:offset + count], (path, offset)
    names = sorted(status.name for status in fs.list_status("/rt"))
    assert len(names) == 15 and "sub" in names and "must-0" in names, names
    with fs.open_file("/rt/through-3000000") as reader:
        reader.seek(2_000_000)
        assert reader.read(10) == pattern("through", 3_000_000)[2_000_000:2_000_010]

    fs.rename("/rt/through-3000000", "/through/kept")
    assert not fs.exists("/rt/through-3000000") and fs.exists("/through/kept")
    assert fs.read_file("/through/kept") == pattern("through", 3_000_000)
    raises(AlreadyExists, lambda: fs.rename("/rt/must-1", "/rt/must-64"))
    raises(DirectoryNotEmpty, lambda: fs.delete("/rt"))
    assert len(fs.list_status("/rt")) == 14
    raises(NotFound, lambda: fs.get_status("/nothing"))
    fs.delete("/rt/must-64")
    raises(NotFound, lambda: fs.read_file("/rt/must-64"))
    fs.delete("/rt", recursive=True)
    assert not fs.exists("/rt")


def write_for_fuse(fs):
    fs.mkdir("/for-fuse", recursive=True)
    for name, write_type in [("must", WriteType.MustCache), ("through", WriteType.CacheThrough)]:
        for length in [0, 10, 5_000_001]:
            path, data = f"/for-fuse/{name}-{length}", pattern(f"fuse-{name}", length)
            fs.write_file(path, data, write_type=write_type)
            print(hashlib.sha256(data).hexdigest(), path)


def check(fs, path, expected):
    seen = hashlib.sha256(fs.read_file(path)).hexdigest()
    assert seen == expected, (path, seen, expected)


def write_many(fs):
    fs.mkdir("/many", recursive=True)

    def write(number):
        fs.write_file(f"/many/{number}", pattern(number, 100 + number), write_type=WriteType.MustCache)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(write, range(1000)))


def check_many(fs):
    wrong = []
    for number in range(1000):
        try:
            same = fs.read_file(f"/many/{number}") == pattern(number, 100 + number)
        except Exception as error:  # Each file that fails is told, not the first alone.
            same = False
            print(number, error)
        if not same:
            wrong.append(number)
    assert not wrong, f"{len(wrong)} files are wrong, such as {wrong[:5]}"


def work_on(fs, folder, stop):
    """Makes directories and looks at them until `stop` is there, as a program that takes no error for an answer.

    Prints how many calls were answered, which errors were seen, and the longest time without an answer.
    """
    errors, longest, answered = {}, 0.0, 0

    def insist(call):
        nonlocal longest, answered
        begun = time.monotonic()
        for attempt in range(10_000):
            try:
                value = call()
                break
            except AlreadyExists:
                # What an earlier try, whose answer was lost, has done.
                assert attempt > 0
                value = None
                break
            except NotFound:
                raise
            except Exception as error:
                kind = type(error).__name__
                errors[kind] = errors.get(kind, 0) + 1
                time.sleep(0.01)
        answered += 1
        longest = max(longest, time.monotonic() - begun)
        return value

    fs.mkdir(folder, recursive=True)
    made = 0
    while made % 20 or not insist(lambda: fs.exists(stop)):
        insist(lambda: fs.mkdir(f"{folder}/{made}"))
        insist(lambda: fs.get_status(f"{folder}/{made}"))
        made += 1
    there = {status.name for status in fs.list_status(folder)}
    assert there == {str(number) for number in range(made)}, f"{len(there)} of {made} are there"
    print(json.dumps({"answered": answered, "errors": errors, "longest_s": round(longest, 3)}))


STEPS = {step.__name__: step for step in [round_trip, write_for_fuse, check, write_many, check_many, work_on]}

if __name__ == "__main__":
    step, masters, *extra = sys.argv[1:]
    settings = {
        "goosefs.security.authentication.type": "SIMPLE",
        "goosefs.security.login.username": "root",
    }
    with Goosefs(Config(masters, properties=settings)) as client:
        STEPS[step](client, *extra)
