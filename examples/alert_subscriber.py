#!/usr/bin/env python3
"""Subscribes to the alerts of Bellwether and prints one line for each transition.

    pip install confluent-kafka
    python3 examples/alert_subscriber.py --brokers 127.0.0.1:9092

It sees only what is committed, and commits its own place after it has handled a transition: killed in between, it handles
that one again after its next start. So whatever stands in for `handle` must be able to take a transition twice.
"""

import argparse
import json
import sys

try:
    from confluent_kafka import Consumer, KafkaError, KafkaException
except ImportError:
    sys.exit("alert_subscriber: confluent-kafka is missing: pip install confluent-kafka")

# Errors that no waiting mends; from all others the client recovers by itself.
FINAL = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


def handle(alert):
    print(f"{alert['at']} {alert['transition']:<9} {alert['severity']:<8} {alert['subject_name']}: {alert['why']}", flush=True)


def follow(consumer, limit):
    latest, handled = {}, 0  # the last transition of each alert; how many
    while limit is None or handled < limit:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if error := message.error():
            if error.fatal() or error.code() in FINAL:
                raise KafkaException(error)
            print(f"alert_subscriber: {error.str()}; waiting", file=sys.stderr)
            continue
        if message.value() is not None:  # otherwise a deletion, by whoever keeps the topic
            alert = json.loads(message.value())
            before = latest.get(alert["id"])
            # Without transactions (kafka.transactions = false) one may come again, with the same sequence.
            if before is None or before["sequence"] < alert["sequence"]:
                handle(alert)
                handled += 1
                latest[alert["id"]] = alert
        consumer.commit(message, asynchronous=False)


parser = argparse.ArgumentParser(description="Prints one line for each transition of an alert.")
parser.add_argument("--brokers", default="127.0.0.1:9092", help="host:port, comma separated (default: %(default)s)")
parser.add_argument("--topic", default="sentiment.alerts", help="default: %(default)s")
parser.add_argument("--group", default="alert-subscriber", help="its place is kept under this name (default: %(default)s)")
parser.add_argument("--once", type=int, metavar="N", help="end after N transitions")
arguments = parser.parse_args()
where = {"bootstrap.servers": arguments.brokers, "group.id": arguments.group, "reconnect.backoff.ms": 2000}
how = {"isolation.level": "read_committed", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
consumer = Consumer(where | how)
consumer.subscribe([arguments.topic])
try:
    follow(consumer, arguments.once)
except KafkaException as error:
    sys.exit(f"alert_subscriber: {error.args[0].str()}")
except (ValueError, KeyError, TypeError) as error:
    sys.exit(f"alert_subscriber: {arguments.topic} holds a record that is no alert: {error!r}")
except KeyboardInterrupt:
    pass
finally:
    consumer.close()
