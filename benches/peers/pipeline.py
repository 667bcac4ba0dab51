"""News from Kafka to labels and shares of the last ten minutes, as a team would write it in an afternoon: confluent-kafka, tokenizers, ONNX
Runtime with the same model file, pandas; results and offsets of a batch in one transaction.

usage: pipeline.py BROKERS TOPIC OUTPUT MODEL COUNT [BATCH]

Prints one line of JSON: texts a second of wall and of CPU time, from the end of the first batch to the last commit.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pandas
from confluent_kafka import Consumer, Producer
from tokenizers import Tokenizer

brokers, topic, output, model, count = sys.argv[1:6]
count, batch = int(count), int(sys.argv[6]) if len(sys.argv) > 6 else 32
group = f"{output}-pipeline"

config = json.loads((Path(model) / "config.json").read_text())
heads = {head: [entry["id2label"][str(i)] for i in range(len(entry["id2label"]))] for head, entry in config["heads"].items()}
tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
tokenizer.enable_truncation(config["max_length"])
tokenizer.enable_padding(pad_id=config.get("pad_token_id", 0))
session = onnxruntime.InferenceSession(str(Path(model) / "model.int8.onnx"), providers=["CPUExecutionProvider"])
outputs = [config["heads"][head]["output"] for head in heads]

consumer = Consumer({"bootstrap.servers": brokers, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
                     "isolation.level": "read_committed"})
consumer.subscribe([topic])
producer = Producer({"bootstrap.servers": brokers, "transactional.id": group, "linger.ms": 5})
producer.init_transactions()
window = pandas.DataFrame()
done, started, cpu, first = 0, None, None, 0

while done < count:
    messages = [message for message in consumer.consume(batch, timeout=1.0) if not message.error()]
    if not messages:
        continue
    items = [json.loads(message.value()) for message in messages]
    texts = [f"{item['title']}. {item['body']}" if item.get("body") else item["title"] for item in items]
    encoded = tokenizer.encode_batch(texts)
    logits = session.run(outputs, {"input_ids": np.array([row.ids for row in encoded], np.int64),
                                   "attention_mask": np.array([row.attention_mask for row in encoded], np.int64)})
    labels = {head: [names[i] for i in values.argmax(-1)] for (head, names), values in zip(heads.items(), logits)}
    new = pandas.DataFrame({"time": pandas.to_datetime([message.timestamp()[1] for message in messages], unit="ms"), "topic": labels["topic"],
                            "negative": [label == "negative" for label in labels["sentiment"]]})
    window = pandas.concat([window, new])
    window = window[window["time"] > window["time"].max() - pandas.Timedelta("10min")]
    shares = window.groupby("topic")["negative"].agg(["mean", "count"])
    producer.begin_transaction()
    for item, name, sentiment in zip(items, labels["topic"], labels["sentiment"]):
        producer.produce(output, key=item["id"], value=json.dumps({**item, "topic": name, "sentiment": sentiment}))
    for name, row in shares.iterrows():
        producer.produce(output, key=name, value=json.dumps({"subject": name, "negative_share": row["mean"], "count": int(row["count"])}))
    producer.send_offsets_to_transaction(consumer.position(consumer.assignment()), consumer.consumer_group_metadata())
    producer.commit_transaction()
    done += len(messages)
    if started is None:
        started, cpu, first = time.monotonic(), time.process_time(), done

seconds, cpu = time.monotonic() - started, time.process_time() - cpu
print(json.dumps({"texts_per_second": (done - first) / seconds, "texts_per_cpu_second": (done - first) / cpu}))
consumer.close()
