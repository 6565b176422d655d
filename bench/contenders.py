"""The loops that Rollcast is measured against, each a process of its own: `python -m bench.contenders NAME …`.

`article` is the loop that tutorials teach: poll one record, make a DataFrame of one row, predict, produce.
`pass_through` copies values in transactions and is what Kafka and its client leave to win.
Each prints one JSON line: {"rows": …, "seconds": …}.
"""

import json
import os
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

_BATCH_ROWS = 2000


def _consumer(servers: str, group: str, topic: str) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([topic])
    return consumer


def article(servers: str, source: str, target: str, model_path: str, rows: int, most_seconds: float) -> None:
    """One record at a time; the first 20 warm up and do not count. Ends after `rows` rows or `most_seconds`."""
    import pandas as pd

    from rollcast_common.models.files import load_model

    model = load_model(Path(model_path), "skops")
    consumer = _consumer(servers, f"{target}-article", source)
    producer = Producer({"bootstrap.servers": servers})
    done, started = -20, 0.0
    while done < rows and (done <= 0 or time.perf_counter() - started < most_seconds):
        message = consumer.poll(1.0)
        if message is None or message.error():
            continue
        if done == 0:
            started = time.perf_counter()
        frame = pd.DataFrame([json.loads(message.value() or b"{}")])
        prediction = model.predict(frame)[0]
        producer.produce(target, json.dumps({"prediction": float(prediction)}).encode(), message.key())
        producer.poll(0)
        done += 1
    producer.flush()
    seconds = time.perf_counter() - started
    consumer.close()
    sys.stdout.write(json.dumps({"rows": done, "seconds": seconds}) + "\n")


def pass_through(servers: str, source: str, target: str, rows: int) -> None:
    """Values copied as they are, 2,000 rows in a transaction."""
    consumer = _consumer(servers, f"{target}-pass", source)
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "transactional.id": f"{target}-pass",
            "compression.type": "lz4",
            "linger.ms": 5,
            "retry.backoff.ms": 5,
            "queue.buffering.max.messages": 500_000,
        }
    )
    producer.init_transactions(30)
    done, started = 0, 0.0
    while done < rows:
        first = consumer.poll(1.0)
        if first is None or first.error():
            continue
        messages = [first, *consumer.consume(_BATCH_ROWS - 1, 0)]
        if not started:
            started = time.perf_counter()
        offsets = {(m.topic(), m.partition()): (m.offset() or 0) + 1 for m in messages}
        producer.begin_transaction()
        for message in messages:
            producer.produce(target, message.value(), message.key())
        positions = [TopicPartition(topic or "", number or 0, offset) for (topic, number), offset in offsets.items()]
        producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata())
        producer.commit_transaction()
        done += len(messages)
    seconds = time.perf_counter() - started
    consumer.close()
    sys.stdout.write(json.dumps({"rows": done, "seconds": seconds}) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    name, servers, source, target, *rest = sys.argv[1:]
    if name == "article":
        article(servers, source, target, rest[0], int(rest[1]), float(rest[2]))
    else:
        pass_through(servers, source, target, int(rest[0]))
